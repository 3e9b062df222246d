//! Removes artifacts, and frees what only they needed.

use std::collections::BTreeSet;
use std::io;

use super::{ExclusiveStore, Store, StoreError, SweepStats};
use crate::digest::Digest;
use crate::manifest::BlobRef;
use crate::tag::Tag;

/// What became of a removal.
#[derive(Debug)]
pub enum Removed {
    /// The names are gone, and so is what nothing else needs.
    Freed(SweepStats),
    /// The names are gone. What only they needed is still there, for this reason: somebody else uses the store, or what
    /// another artifact needs cannot be known. The next removal or [`ExclusiveStore::sweep`] frees it.
    Later(StoreError),
}

impl Store {
    /// Forgets the names `tags`, all or none, and frees what no other name and no cluster needs. `in_use` tells the
    /// layers that clusters use; it is asked when no cluster can be started meanwhile.
    ///
    /// Where the disk is so full that the index cannot be written, the artifacts' unpacked layers make room for it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] names those there are. Otherwise when the store cannot be written, or `in_use` fails.
    pub fn remove<E: From<StoreError>>(
        &mut self,
        tags: &[Tag],
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Removed, E> {
        for tag in tags {
            self.reference(tag)?;
        }
        let busy = match self.exclusive() {
            Ok(alone) => return Ok(alone.remove(tags, &in_use()?)?),
            Err(busy @ StoreError::Busy { .. }) => busy,
            Err(error) => return Err(error.into()),
        };
        self.forget(tags)?;
        Ok(Removed::Later(busy))
    }
}

impl ExclusiveStore<'_> {
    /// The same as [`Store::remove`]; `in_use` are the layers that clusters use.
    ///
    /// # Errors
    /// As there.
    pub fn remove(&self, tags: &[Tag], in_use: &BTreeSet<Digest>) -> Result<Removed, StoreError> {
        match self.forget(tags) {
            Err(error) if is_full(&error) => {
                self.make_room(tags, in_use)?;
                self.forget(tags)?;
            }
            outcome => outcome?,
        }
        match self.sweep(in_use) {
            Ok(swept) => Ok(Removed::Freed(swept)),
            Err(why @ (StoreError::Artifact { .. } | StoreError::Damaged { .. })) => Ok(Removed::Later(why)),
            Err(error) => Err(error),
        }
    }

    /// Removes what can be had again without a network: left-overs, and unpacked layers of artifacts that are to go.
    fn make_room(&self, tags: &[Tag], in_use: &BTreeSet<Digest>) -> Result<(), StoreError> {
        // Those whose manifest cannot be read have no say here, and are an obstacle to no other.
        let manifests = tags.iter().filter_map(|tag| self.manifest(tag).ok());
        let layers: BTreeSet<Digest> = manifests
            .flat_map(|manifest| manifest.blobs().cloned().collect::<Vec<BlobRef>>())
            .map(|blob| blob.digest)
            .collect();
        self.discard_unpacked(layers.difference(in_use))?;
        // Where that is not possible, there may be room all the same.
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
