//! The store while nobody else uses it.

use std::ops::Deref;

use super::{Store, StoreError, lock};

/// The store while no other process and no other value of this one has it open: whoever opens it waits. Only now may
/// something be taken away.
///
/// What clusters use is to be asked for now, not before: a cluster may have been started in between.
#[derive(Debug)]
pub struct ExclusiveStore<'a>(&'a Store);

impl Store {
    /// Has the store alone, if nobody else uses it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when somebody does.
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
            tracing::warn!(%error, "others have to wait for this process to end");
        }
    }
}
