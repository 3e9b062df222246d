//! Removes files that are not needed.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::Path;

use super::{ExclusiveStore, Store, StoreError, UNPACKED_NAME, disk_usage};
use crate::digest::Digest;
use crate::manifest::{BlobRef, Manifest};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepStats {
    pub blobs: usize,
    pub unpacked: usize,
    /// Leftovers of killed processes.
    pub leftovers: usize,
    /// Bytes freed on disk.
    pub bytes: u64,
}

impl ExclusiveStore<'_> {
    /// Removes what killed processes left, and blobs and unpacked layers that no tag needs and that are not in `keep`: the
    /// layers of clusters, and their manifests, which also keep their configs.
    ///
    /// # Errors
    /// The manifest of an artifact cannot be read, so the files it needs are unknown. Nothing is removed then.
    pub fn sweep(&self, keep: &BTreeSet<Digest>) -> Result<SweepStats, StoreError> {
        let mut needed = keep.clone();
        needed.extend(self.referrer_blobs()?);
        for digest in keep {
            needed.extend(self.config_of(digest));
        }
        let references = self.references()?;
        for (tag, reference) in &references {
            let manifest = self.manifest(tag)?;
            needed.extend(manifest.blobs().map(|blob| blob.digest.clone()));
            needed.insert(reference.digest.clone());
        }
        let blobs: BTreeSet<&str> = needed.iter().map(Digest::hex).collect();
        let layers: BTreeSet<&str> = needed.iter().map(short).collect();
        let tags: BTreeSet<&str> = references.iter().map(|(tag, _)| tag.as_str()).collect();
        let mut bytes = 0;
        sweep_dir(self, "used", &tags, &mut bytes)?;
        // `tmp/` last, since the others are moved there to be removed.
        let (blobs, _) = sweep_dir(self, "blobs/sha256", &blobs, &mut bytes)?;
        let (unpacked, _) = sweep_dir(self, "unpacked", &layers, &mut bytes)?;
        let (all, locks) = sweep_dir(self, "tmp", &BTreeSet::new(), &mut bytes)?;
        Ok(SweepStats {
            blobs,
            unpacked,
            leftovers: all - locks,
            bytes,
        })
    }

    /// Removes unpacked layers. They can be unpacked again from their blobs.
    pub(super) fn discard_unpacked<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<(), StoreError> {
        for digest in digests {
            let path = self.unpacked_path(digest);
            if path.is_dir() {
                remove_dir(self, &path)?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// The config of the manifest `digest`; `None` if it is not a manifest. Layers are not read.
    fn config_of(&self, digest: &Digest) -> Option<Digest> {
        let mut start = [0];
        let mut file = File::open(self.blob_path(digest)).ok()?;
        file.read_exact(&mut start).ok()?;
        let size = file.metadata().ok().filter(|_| start == *b"{")?.len();
        let digest = digest.clone();
        let bytes = self.document(&BlobRef { digest, size }).ok()??;
        Some(Manifest::from_json(&bytes).ok()?.config.digest)
    }
}

fn short(digest: &Digest) -> &str {
    &digest.hex()[..UNPACKED_NAME]
}

/// Removes everything in a directory of the store except `keep`. Returns how many items were removed, and how many of them
/// were lock files.
fn sweep_dir(
    store: &Store,
    dir: &str,
    keep: &BTreeSet<&str>,
    bytes: &mut u64,
) -> Result<(usize, usize), StoreError> {
    let dir = store.dir.join(dir);
    let (mut removed, mut locks) = (0, 0);
    let entries: io::Result<Vec<DirEntry>> = fs::read_dir(&dir).and_then(Iterator::collect);
    for entry in entries.map_err(StoreError::io("read", &dir))? {
        if entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
            continue;
        }
        let path = entry.path();
        *bytes += disk_usage(&path).map_err(StoreError::io("read", &path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_dir(store, &path)?;
        } else {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
        removed += 1;
        locks += usize::from(is_lock(&path));
    }
    Ok((removed, locks))
}

/// True for a lock file.
pub(super) fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

/// Removes a directory. It is renamed first, so that a half-removed one never looks complete. Needs no disk space.
fn remove_dir(store: &Store, path: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path| StoreError::io("remove", path);
    let tmp = store.tmp();
    if path.parent() == Some(&*tmp) {
        return fs::remove_dir_all(path).map_err(failed(path));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let renamed = tmp.join(format!("remove-{name}"));
    match fs::remove_dir_all(&renamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&renamed)(error)),
        _ => {}
    }
    fs::rename(path, &renamed).map_err(failed(path))?;
    fs::remove_dir_all(&renamed).map_err(failed(&renamed))
}
