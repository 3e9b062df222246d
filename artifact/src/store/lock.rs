//! Locks between processes: flock(2), which the kernel drops with the process that holds it.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// Waits until nobody holds it exclusively.
pub(super) fn shared(path: &Path) -> Result<File, StoreError> {
    take(path, FlockOperation::LockShared)
}

/// Waits until nobody holds it.
pub(super) fn exclusive(path: &Path) -> Result<File, StoreError> {
    take(path, FlockOperation::LockExclusive)
}

/// Turns a shared lock into an exclusive one, unless others share it; then it stays shared and this is `false`.
pub(super) fn try_upgrade(file: &File, path: &Path) -> Result<bool, StoreError> {
    let failed = |errno: Errno| StoreError::io("lock", path)(errno.into());
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        // A conversion that fails has let go of the old lock (flock(2), "Linux implementation").
        Err(Errno::WOULDBLOCK) => downgrade(file, path).map(|()| false),
        Err(errno) => Err(failed(errno)),
    }
}

/// Lets others share it again.
pub(super) fn downgrade(file: &File, path: &Path) -> Result<(), StoreError> {
    retry(|| flock(file, FlockOperation::LockShared))
        .map_err(|errno| StoreError::io("lock", path)(errno.into()))
}

fn take(path: &Path, operation: FlockOperation) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(StoreError::io("open", path))?;
    retry(|| flock(&file, operation)).map_err(|errno| StoreError::io("lock", path)(errno.into()))?;
    Ok(file)
}

fn retry(mut act: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match act() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
