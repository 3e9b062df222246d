//! Blobs that come in pieces, taken in by several processes one after the other if need be.
//!
//! ```text
//! tmp/HEX.part         what came so far of the blob of this digest
//! tmp/HEX.part.lock    flock of the process that takes it in
//! ```
//!
//! A delta comes the same way, but never becomes a blob of the store: it stays there until it was used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::blobs::sync_parent;
use super::{Store, StoreError, lock};
use crate::digest::{Digest, HashingStream};
use crate::manifest::BlobRef;

/// A blob that is being taken in, by this process alone. What came stays when the value is dropped or the process dies,
/// and the next one goes on there.
pub(crate) struct PartialBlob {
    expected: BlobRef,
    part: PathBuf,
    place: PathBuf,
    out: HashingStream<File>,
    _only_one: File,
}

/// A blob that came, all of it, and is still where it came to.
#[derive(Debug)]
pub(crate) struct WholeBlob {
    file: File,
    part: PathBuf,
    place: PathBuf,
    _only_one: File,
}

impl Store {
    /// Starts to take in a blob, or goes on where that ended before; what is there is hashed again. Waits for other
    /// processes that take in the same blob. `None` when the store has it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) fn partial_blob(&self, digest: &Digest, size: u64) -> Result<Option<PartialBlob>, StoreError> {
        if self.has_blob(digest, size)? {
            return Ok(None);
        }
        self.partial(digest, size, (digest, size))
    }

    /// The same with a delta that is to make a blob. `None` when the store has that blob.
    ///
    /// # Errors
    /// As for [`Store::partial_blob`].
    pub(crate) fn partial_delta(
        &self,
        delta: &BlobRef,
        blob: &BlobRef,
    ) -> Result<Option<PartialBlob>, StoreError> {
        self.partial(&delta.digest, delta.size, (&blob.digest, blob.size))
    }

    /// Bytes that are there of a blob that came in part.
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
        let only_one = lock::exclusive(&part.with_extension("part.lock"))?;
        // Whoever was waited for may have brought it.
        if self.has_blob(wanted.0, wanted.1)? {
            return Ok(None);
        }
        let (out, length) = resume(&part)?;
        let mut partial = PartialBlob {
            expected: BlobRef {
                digest: digest.clone(),
                size,
            },
            place: self.blob_path(digest),
            part,
            out,
            _only_one: only_one,
        };
        if length > size {
            partial.restart()?;
        }
        Ok(Some(partial))
    }
}

impl PartialBlob {
    /// Bytes that are there.
    pub(crate) fn length(&self) -> u64 {
        self.out.length()
    }

    /// Adds bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out
            .write_all(bytes)
            .map_err(StoreError::io("write", &self.part))
    }

    /// Forgets all that came.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        remove(&self.part)?;
        (self.out, _) = resume(&self.part)?;
        Ok(())
    }

    /// Checks what came.
    ///
    /// # Errors
    /// [`StoreError::WrongBlob`] when the bytes are others than announced; nothing is kept then.
    pub(crate) fn finish(self) -> Result<WholeBlob, StoreError> {
        let (file, found, found_size) = self.out.finish();
        let BlobRef { digest, size } = self.expected;
        if found != digest || found_size != size {
            remove(&self.part)?;
            return Err(StoreError::WrongBlob {
                expected: digest,
                size,
                found,
                found_size,
            });
        }
        Ok(WholeBlob {
            file,
            part: self.part,
            place: self.place,
            _only_one: self._only_one,
        })
    }
}

impl WholeBlob {
    /// Puts it into the store.
    pub(crate) fn keep(self) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(StoreError::io("write", &self.part))?;
        fs::rename(&self.part, &self.place).map_err(StoreError::io("make", &self.place))?;
        sync_parent(&self.place)
    }

    /// Has `read` read it from its start, and lets go of it then.
    pub(crate) fn used<T>(mut self, read: impl FnOnce(&mut File) -> T) -> Result<T, StoreError> {
        self.file.rewind().map_err(StoreError::io("read", &self.part))?;
        let outcome = read(&mut self.file);
        remove(&self.part)?;
        Ok(outcome)
    }
}

/// Opens the file and hashes what is in it.
fn resume(part: &Path) -> Result<(HashingStream<File>, u64), StoreError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let file = options.open(part).map_err(StoreError::io("make", part))?;
    let mut file = HashingStream::new(file);
    let mut buffer = vec![0; 256 * 1024];
    // Reading to the end also leaves the file there, for what is written next.
    while file.read(&mut buffer).map_err(StoreError::io("read", part))? != 0 {}
    let length = file.length();
    Ok((file, length))
}

fn remove(part: &Path) -> Result<(), StoreError> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", part)(error)),
        _ => Ok(()),
    }
}
