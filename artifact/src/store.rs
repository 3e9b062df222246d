//! The local store: artifacts and unpacked layers, shared read-only by all clusters. The [crate's documentation](crate) shows
//! its directory.
//!
//! Files are complete once they have their final name: blobs and `index.json` are written under another name, synced and
//! renamed; layers are unpacked in `tmp/`, synced and renamed, and moved back there before they are removed. What a killed
//! process leaves is in `tmp/`, and is removed by the next [`ExclusiveStore::sweep`].
//!
//! Any number of processes read and write at once: the index changes under `index.lock`, and each layer is unpacked under its
//! own lock. Only removal needs an [`ExclusiveStore`].

mod artifacts;
mod blobs;
mod error;
mod examine;
mod exclusive;
mod index;
mod inventory;
mod last_used;
mod layers;
mod lock;
mod partial;
mod prune;
mod referrers;
mod remove;
mod repair;
mod sweep;
mod usage;
mod verify;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::image::OciLayout;

use crate::digest::Digest;

pub use artifacts::{Artifact, ListEntry, MACHINE_LAYER, NewArtifact};
pub use blobs::BlobWriter;
pub use error::StoreError;
pub use examine::{BlobProblem, Examination, Problem, ProblemKind};
pub use exclusive::ExclusiveStore;
pub use inventory::{ArtifactUsage, Inventory, Usage};
pub(crate) use partial::{PartialBlob, WholeBlob};
pub use prune::{PruneCandidate, Retention};
pub use remove::Removed;
pub use sweep::SweepStats;
pub use usage::disk_usage;
pub use verify::VerifyStats;

/// Version of the OCI image layout (OCI image-spec 1.1, image-layout.md).
const LAYOUT_VERSION: &str = "1.0.0";
/// Digits of a digest in the name of an unpacked layer. An overlay's mount options hold the paths of all its layers, and are
/// limited to one page.
const UNPACKED_NAME: usize = 32;

/// An open store, from which nothing is removed meanwhile. Any number of processes may have it open, and all methods may be
/// called from several threads.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    in_use: File,
}

impl Store {
    /// Opens the store in `dir`, and creates it if it does not exist. Waits for a running sweep.
    ///
    /// # Errors
    /// The directory cannot be created, or is a layout of another version.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if !dir.is_dir() {
            // Parents hold other state; only the store itself must be closed to other users.
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent).map_err(StoreError::io("make", parent))?;
            }
            make_dir(dir)?;
        }
        for name in ["blobs", "blobs/sha256", "unpacked", "used", "tmp"] {
            make_dir(&dir.join(name))?;
        }
        let in_use = lock::shared(&dir.join("lock"))?;
        let store = Self {
            dir: dir.to_owned(),
            in_use,
        };
        store.check_layout()?;
        Ok(store)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a blob, whether it exists or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// The path of an unpacked layer, whether it exists or not.
    pub fn unpacked_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("unpacked").join(&digest.hex()[..UNPACKED_NAME])
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn check_layout(&self) -> Result<(), StoreError> {
        let path = self.dir.join("oci-layout");
        if !path.exists() {
            let layout = serde_json::json!({ "imageLayoutVersion": LAYOUT_VERSION });
            return self.replace_file(&path, layout.to_string().as_bytes());
        }
        let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
        match serde_json::from_slice::<OciLayout>(&text) {
            Ok(layout) if layout.image_layout_version() == LAYOUT_VERSION => Ok(()),
            Ok(layout) => Err(StoreError::LayoutVersion {
                path,
                found: layout.image_layout_version().clone(),
            }),
            Err(source) => Err(StoreError::Layout { path, source }),
        }
    }
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("make", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
