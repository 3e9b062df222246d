//! Frees what nobody needs.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::Path;

use super::{Store, StoreError, UNPACKED_NAME, disk_usage, lock};
use crate::digest::Digest;
use crate::manifest::{BlobRef, Manifest};

/// What a sweep freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs removed.
    pub blobs: usize,
    /// Unpacked layers removed.
    pub unpacked: usize,
    /// Left-overs of killed processes removed.
    pub left_overs: usize,
    /// Bytes freed on disk.
    pub bytes: u64,
}

impl Store {
    /// Removes blobs and unpacked layers that no name refers to and that are not in `keep` (the layers of running
    /// clusters, and the manifests they came with, which keep their configs too), and what killed processes left.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when anyone else, in this process or another, has the store open. An artifact whose
    /// manifest cannot be read is an error too: what it needs is not known.
    pub fn sweep(&mut self, keep: &BTreeSet<Digest>) -> Result<Swept, StoreError> {
        let lock_path = self.dir.join("lock");
        if !lock::try_upgrade(&self.in_use, &lock_path)? {
            return Err(StoreError::Busy {
                dir: self.dir.clone(),
            });
        }
        let swept = self.sweep_alone(keep);
        lock::downgrade(&self.in_use, &lock_path)?;
        swept
    }

    fn sweep_alone(&self, keep: &BTreeSet<Digest>) -> Result<Swept, StoreError> {
        let mut needed = keep.clone();
        for digest in keep {
            needed.extend(self.config_of(digest));
        }
        for (tag, reference) in self.references()? {
            let manifest = self.manifest(&tag)?;
            needed.extend(manifest.blobs().map(|blob| blob.digest.clone()));
            needed.insert(reference.digest);
        }
        let blobs: BTreeSet<&str> = needed.iter().map(Digest::hex).collect();
        let layers: BTreeSet<&str> = needed
            .iter()
            .map(|digest| &digest.hex()[..UNPACKED_NAME])
            .collect();
        let mut bytes = 0;
        Ok(Swept {
            blobs: sweep_dir(&self.dir.join("blobs/sha256"), &blobs, &mut bytes)?,
            unpacked: sweep_dir(&self.dir.join("unpacked"), &layers, &mut bytes)?,
            left_overs: sweep_dir(&self.tmp(), &BTreeSet::new(), &mut bytes)?,
            bytes,
        })
    }
}

impl Store {
    /// The config of the manifest that `digest` is, if it is one: layers are not read for that.
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

/// Removes what is in `dir` under other names than those, and counts what was more than a lock file.
fn sweep_dir(dir: &Path, keep: &BTreeSet<&str>, bytes: &mut u64) -> Result<usize, StoreError> {
    let mut removed = 0;
    let entries: io::Result<Vec<DirEntry>> = fs::read_dir(dir).and_then(Iterator::collect);
    for entry in entries.map_err(StoreError::io("read", dir))? {
        if entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
            continue;
        }
        let path = entry.path();
        *bytes += disk_usage(&path).map_err(StoreError::io("read", &path))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let outcome = if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        outcome.map_err(StoreError::io("remove", &path))?;
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        removed += usize::from(!is_lock);
    }
    Ok(removed)
}
