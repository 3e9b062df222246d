//! Removes artifacts, and frees what only they need.

use std::collections::BTreeSet;
use std::io;

use super::{ExclusiveStore, Store, StoreError, SweepStats};
use crate::digest::Digest;
use crate::manifest::BlobRef;
use crate::tag::Tag;

/// The outcome of a removal.
#[derive(Debug)]
pub enum Removed {
    /// Tags and unneeded files were removed.
    Freed(SweepStats),
    /// The tags were removed. Their files remain because of this error: the store is in use elsewhere, or another artifact is
    /// damaged, so that the files it needs are unknown. The next removal or [`ExclusiveStore::sweep`] frees them.
    Later(StoreError),
}

impl Store {
    /// Removes the tags, all or none, and frees what no other tag and no cluster needs. `in_use` returns the layers that
    /// clusters use; it is called while no cluster can be started.
    ///
    /// If the disk is too full to write the index, the artifacts' unpacked layers are removed first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with all names; the store cannot be written; or `in_use` fails.
    pub fn remove<E: From<StoreError>>(
        &mut self,
        tags: &[Tag],
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Removed, E> {
        for tag in tags {
            self.reference(tag)?;
        }
        let busy = match self.exclusive() {
            Ok(store) => return Ok(store.remove(tags, &in_use()?)?),
            Err(busy @ StoreError::Busy { .. }) => busy,
            Err(error) => return Err(error.into()),
        };
        self.remove_tags(tags)?;
        Ok(Removed::Later(busy))
    }
}

impl ExclusiveStore<'_> {
    /// Like [`Store::remove`]; `in_use` are the layers that clusters use.
    ///
    /// # Errors
    /// As for [`Store::remove`].
    pub fn remove(&self, tags: &[Tag], in_use: &BTreeSet<Digest>) -> Result<Removed, StoreError> {
        match self.remove_tags(tags) {
            Err(error) if is_full(&error) => {
                self.make_room(tags, in_use)?;
                self.remove_tags(tags)?;
            }
            outcome => outcome?,
        }
        match self.sweep(in_use) {
            Ok(swept) => Ok(Removed::Freed(swept)),
            Err(why @ (StoreError::Artifact { .. } | StoreError::Damaged { .. })) => Ok(Removed::Later(why)),
            Err(error) => Err(error),
        }
    }

    /// Removes leftovers and the unpacked layers of artifacts that are to be removed.
    fn make_room(&self, tags: &[Tag], in_use: &BTreeSet<Digest>) -> Result<(), StoreError> {
        // Damaged manifests do not keep the others from being removed.
        let manifests = tags.iter().filter_map(|tag| self.manifest(tag).ok());
        let layers: BTreeSet<Digest> = manifests
            .flat_map(|manifest| manifest.blobs().cloned().collect::<Vec<BlobRef>>())
            .map(|blob| blob.digest)
            .collect();
        self.discard_unpacked(layers.difference(in_use))?;
        // Even if this fails, there may be enough room now.
        let _ = self.sweep(in_use);
        Ok(())
    }
}

fn is_full(error: &StoreError) -> bool {
    let StoreError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
