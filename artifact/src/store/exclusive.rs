//! The store while no other process uses it.

use std::ops::Deref;

use super::{Store, StoreError, lock};

/// The store while no other process and no other [`Store`] of this process has it open; opening it waits. Only then may
/// things be removed.
///
/// Ask which layers clusters use after this lock is held: a cluster may have been started before.
#[derive(Debug)]
pub struct ExclusiveStore<'a>(&'a Store);

impl Store {
    /// Locks the store exclusively.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if it is in use elsewhere.
    pub fn exclusive(&mut self) -> Result<ExclusiveStore<'_>, StoreError> {
        if lock::try_upgrade(&self.in_use, &self.dir.join("lock"))? {
            return Ok(ExclusiveStore(self));
        }
        Err(StoreError::Busy {
            dir: self.dir.clone(),
        })
    }
}

impl Deref for ExclusiveStore<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.0
    }
}

impl Drop for ExclusiveStore<'_> {
    fn drop(&mut self) {
        if let Err(error) = lock::downgrade(&self.0.in_use, &self.0.dir.join("lock")) {
            tracing::warn!(%error, "could not unlock the store; other processes wait until this one ends");
        }
    }
}
