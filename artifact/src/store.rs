//! The local store: artifacts and unpacked layers, shared read-only by all clusters. Its directory is drawn
//! in the [crate's documentation](crate).
//!
//! Whatever appears under its final name is whole: blobs and `index.json` are written under another name,
//! synced and renamed, layers are unpacked in `tmp/`, synced and renamed, and moved back there before they are removed.
//! What a killed process leaves is in `tmp/`, and goes with the next [`ExclusiveStore::sweep`].
//!
//! Any number of processes read and write at once: names change under `index.lock`, a layer is unpacked under a lock of
//! its own. Only what takes something away has to be [`ExclusiveStore`].

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
/// Digits of a digest that name an unpacked layer: an overlay's options hold one such path a layer, in one page.
const UNPACKED_NAME: usize = 32;

/// The store in one directory. As long as the value lives, nobody takes anything away; any number of processes may have
/// it open. All methods may be called from several threads.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    in_use: File,
}

impl Store {
    /// Opens the store in `dir`, and makes it when it is not there. Waits for a sweep to end.
    ///
    /// # Errors
    /// When the directory cannot be made or is a layout of another version.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if !dir.is_dir() {
            // Its parents hold other state; only the store itself has to be closed to other users.
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

    /// The directory it is in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob of this digest is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Where the layer of this digest is unpacked, or would be.
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
