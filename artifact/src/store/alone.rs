//! The store while nobody else uses it.

use std::ops::Deref;

use super::{Store, StoreError, lock};

/// The store while no other process and no other value of this one has it open: whoever opens it waits. Only now may
/// something be taken away.
///
/// What clusters use is to be asked for now, not before: a cluster may have been started in between.
#[derive(Debug)]
pub struct Alone<'a>(&'a Store);

impl Store {
    /// Has the store alone, if nobody else uses it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when somebody does.
    pub fn alone(&mut self) -> Result<Alone<'_>, StoreError> {
        if lock::try_upgrade(&self.in_use, &self.dir.join("lock"))? {
            return Ok(Alone(self));
        }
        Err(StoreError::Busy {
            dir: self.dir.clone(),
        })
    }
}

impl Deref for Alone<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.0
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Err(error) = lock::downgrade(&self.0.in_use, &self.0.dir.join("lock")) {
            tracing::warn!(%error, "others have to wait for this process to end");
        }
    }
}
