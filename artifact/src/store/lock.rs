//! Locks between processes: flock(2), which ends with the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// Locks a file shared, after exclusive locks have ended.
pub(super) fn shared(path: &Path) -> Result<File, StoreError> {
    take(path, FlockOperation::LockShared)
}

/// Locks a file exclusively, after all locks have ended.
pub(super) fn exclusive(path: &Path) -> Result<File, StoreError> {
    take(path, FlockOperation::LockExclusive)
}

/// Turns a shared lock into an exclusive one; false, with the lock still shared, if others share it.
pub(super) fn try_upgrade(file: &File, path: &Path) -> Result<bool, StoreError> {
    let failed = |errno: Errno| StoreError::io("lock", path)(errno.into());
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        // A failed conversion has released the old lock (flock(2), "Linux implementation details").
        Err(Errno::WOULDBLOCK) => downgrade(file, path).map(|()| false),
        Err(errno) => Err(failed(errno)),
    }
}

/// Turns an exclusive lock into a shared one.
pub(super) fn downgrade(file: &File, path: &Path) -> Result<(), StoreError> {
    retry(|| flock(file, FlockOperation::LockShared))
        .map_err(|errno| StoreError::io("lock", path)(errno.into()))
}

fn take(path: &Path, operation: FlockOperation) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let opened = match options.open(path) {
        // A store on a read-only file system can be inspected.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        opened => opened,
    };
    let file = opened.map_err(StoreError::io("open", path))?;
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
