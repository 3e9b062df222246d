//! The time of last use of each artifact: the modification time of an empty file. It is not synced, so that starting a cluster
//! does not wait for the disk.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::tag::Tag;

impl Store {
    /// Records that the artifact `tag` is used now, as creating and pulling it also do.
    ///
    /// # Errors
    /// The file cannot be created or changed.
    pub fn mark_used(&self, tag: &Tag) -> Result<(), StoreError> {
        let path = self.used_path(tag);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        file.and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(StoreError::io("write", &path))
    }

    /// When the artifact `tag` was last made, pulled or started. Older versions did not record it: then the time when its
    /// manifest was stored; `None` if that is missing.
    ///
    /// # Errors
    /// The artifact does not exist, or the time cannot be read.
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
