//! Blobs that arrive in pieces, possibly in several processes one after the other.
//!
//! ```text
//! tmp/HEX.part         the received beginning of the blob with this digest
//! tmp/HEX.part.lock    flock of the process that receives it
//! ```
//!
//! A delta arrives in the same way, but never becomes a blob of the store: it is removed after its use.

use std::fs::{self, File};
use std::io::Seek;
use std::path::PathBuf;

use super::blobs::sync_parent;
use super::{Store, StoreError, lock};
use crate::digest::Digest;
use crate::http::{CompleteFile, PartialFile};
use crate::manifest::BlobRef;

/// A blob that only this process is receiving. Received bytes stay when the value is dropped or the process dies.
pub(crate) struct PartialBlob {
    pub(crate) file: PartialFile,
    destination: PathBuf,
    lock: File,
}

/// A blob that has arrived, still under its temporary name.
#[derive(Debug)]
pub(crate) struct WholeBlob {
    file: CompleteFile,
    destination: PathBuf,
    _lock: File,
}

impl Store {
    /// Starts to receive a blob, or continues where that was interrupted. Waits for other processes that receive the same
    /// blob. `None` if the store has it.
    pub(crate) fn partial_blob(&self, digest: &Digest, size: u64) -> Result<Option<PartialBlob>, StoreError> {
        if self.has_blob(digest, size)? {
            return Ok(None);
        }
        self.partial(digest, size, (digest, size))
    }

    /// Like [`Store::partial_blob`], for a delta from which `blob` will be rebuilt. `None` if the store has that blob.
    pub(crate) fn partial_delta(
        &self,
        delta: &BlobRef,
        blob: &BlobRef,
    ) -> Result<Option<PartialBlob>, StoreError> {
        self.partial(&delta.digest, delta.size, (&blob.digest, blob.size))
    }

    /// How much of a blob has arrived, in bytes.
    pub(crate) fn partial_length(&self, digest: &Digest) -> u64 {
        fs::metadata(self.part(digest)).map_or(0, |metadata| metadata.len())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.tmp().join(format!("{}.part", digest.hex()))
    }

    fn partial(
        &self,
        digest: &Digest,
        size: u64,
        wanted: (&Digest, u64),
    ) -> Result<Option<PartialBlob>, StoreError> {
        let part = self.part(digest);
        let lock = lock::exclusive(&part.with_extension("part.lock"))?;
        // The process that held the lock may have stored it.
        if self.has_blob(wanted.0, wanted.1)? {
            return Ok(None);
        }
        Ok(Some(PartialBlob {
            file: PartialFile::open(&part, size).map_err(StoreError::io("open", &part))?,
            destination: self.blob_path(digest),
            lock,
        }))
    }
}

impl PartialBlob {
    /// The whole blob, once its file has been downloaded and verified.
    pub(crate) fn complete(self, file: CompleteFile) -> WholeBlob {
        WholeBlob {
            file,
            destination: self.destination,
            _lock: self.lock,
        }
    }
}

impl WholeBlob {
    /// Moves it into the store.
    pub(crate) fn keep(self) -> Result<(), StoreError> {
        let Self {
            file, destination, ..
        } = &self;
        file.file
            .sync_all()
            .map_err(StoreError::io("write", &file.path))?;
        fs::rename(&file.path, destination).map_err(StoreError::io("make", destination))?;
        sync_parent(destination)
    }

    /// Calls `read` with the file, positioned at its start, and removes it.
    pub(crate) fn consume<T>(mut self, read: impl FnOnce(&mut File) -> T) -> Result<T, StoreError> {
        let CompleteFile { path, file } = &mut self.file;
        file.rewind().map_err(StoreError::io("read", path))?;
        let outcome = read(file);
        fs::remove_file(&path).map_err(StoreError::io("remove", path))?;
        Ok(outcome)
    }
}
