//! When artifacts were last used: the modification time of an empty file for each name. Nothing is lost with it that
//! matters, so it is never synced, and starting a cluster waits for no disk.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::tag::Tag;

impl Store {
    /// Notes that the artifact called `tag` is used now. What makes or pulls one notes that too.
    ///
    /// # Errors
    /// When the file cannot be made or changed.
    pub fn mark_used(&self, tag: &Tag) -> Result<(), StoreError> {
        let path = self.used_path(tag);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        file.and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(StoreError::io("write", &path))
    }

    /// When the artifact called `tag` was last made, pulled or started. Where nobody noted it (older versions did not),
    /// when its manifest came here; `None` where that is missing too.
    ///
    /// # Errors
    /// When there is no such artifact, or that cannot be read.
    pub fn last_used(&self, tag: &Tag) -> Result<Option<Timestamp>, StoreError> {
        for path in [self.used_path(tag), self.blob_path(&self.reference(tag)?.digest)] {
            match std::fs::metadata(&path).and_then(|metadata| metadata.modified()) {
                Ok(time) => return Ok(Timestamp::try_from(time).ok()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("read", &path)(error)),
            }
        }
        Ok(None)
    }

    fn used_path(&self, tag: &Tag) -> PathBuf {
        self.dir.join("used").join(tag.as_str())
    }
}
