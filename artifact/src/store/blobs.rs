//! Blobs: files named after the digest of their content.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{Store, StoreError};
use crate::digest::{Digest, HashingStream};
use crate::manifest::BlobRef;

/// Maximum size of a manifest or config in bytes: a limit on what is read into memory.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Writes a blob from outside. It appears in the store with [`BlobWriter::finish`].
pub struct BlobWriter<'a> {
    store: &'a Store,
    expected: BlobRef,
    out: HashingStream<NamedTempFile>,
}

impl Store {
    /// True if the blob exists and matches its digest; it is read in full. A corrupt blob counts as missing, so that fetching
    /// it again repairs it.
    ///
    /// # Errors
    /// It exists but cannot be read.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == size => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        }
        Ok(digest_of_file(&path)? == *digest)
    }

    /// A writer for a blob of `size` bytes.
    ///
    /// # Errors
    /// No temporary file can be created.
    pub fn blob_writer(&self, digest: &Digest, size: u64) -> Result<BlobWriter<'_>, StoreError> {
        let expected = BlobRef {
            digest: digest.clone(),
            size,
        };
        Ok(BlobWriter {
            store: self,
            expected,
            out: HashingStream::new(self.temp_file()?),
        })
    }

    /// A file that is removed on drop.
    pub(crate) fn temp_file(&self) -> Result<NamedTempFile, StoreError> {
        let tmp = self.tmp();
        NamedTempFile::with_prefix_in("blob-", &tmp).map_err(StoreError::io("write in", &tmp))
    }

    /// Moves a complete temporary file into place, unless the blob exists.
    pub(super) fn keep_blob(&self, file: NamedTempFile, blob: &BlobRef) -> Result<(), StoreError> {
        if self.has_blob(&blob.digest, blob.size)? {
            return Ok(());
        }
        self.move_into_place(file, &self.blob_path(&blob.digest))
    }

    /// Stores a small blob.
    pub(crate) fn put_document(&self, bytes: &[u8]) -> Result<BlobRef, StoreError> {
        let blob = BlobRef {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let mut file = self.temp_file()?;
        file.write_all(bytes)
            .map_err(StoreError::io("write", file.path()))?;
        self.keep_blob(file, &blob)?;
        Ok(blob)
    }

    /// Reads a small blob; `None` if it is missing, too large or corrupt.
    pub(crate) fn document(&self, blob: &BlobRef) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(&blob.digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &path))?;
        let is_intact = bytes.len() as u64 == blob.size && Digest::of(&bytes) == blob.digest;
        Ok(is_intact.then_some(bytes))
    }

    /// Replaces a file atomically.
    pub(super) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.temp_file()?;
        file.write_all(bytes)
            .map_err(StoreError::io("write", file.path()))?;
        self.move_into_place(file, path)
    }

    fn move_into_place(&self, file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
        file.as_file().sync_all().map_err(StoreError::io("write", path))?;
        file.persist(path)
            .map_err(|error| StoreError::io("write", path)(error.error))?;
        sync_parent(path)
    }
}

impl BlobWriter<'_> {
    /// Verifies the blob and moves it into the store.
    ///
    /// # Errors
    /// [`StoreError::WrongBlob`] if it does not match its digest and size; it is discarded then.
    pub fn finish(self) -> Result<(), StoreError> {
        let (file, found, found_size) = self.out.finish();
        let BlobRef { digest, size } = &self.expected;
        if found != *digest || found_size != *size {
            let (expected, size) = (digest.clone(), *size);
            return Err(StoreError::WrongBlob {
                expected,
                size,
                found,
                found_size,
            });
        }
        self.store.move_into_place(file, &self.store.blob_path(digest))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes a rename durable by syncing the directory.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("write in", parent))
}

pub(super) fn digest_of_file(path: &Path) -> Result<Digest, StoreError> {
    let read = || -> io::Result<Digest> {
        let mut file = HashingStream::new(File::open(path)?);
        let mut buffer = vec![0; 256 * 1024];
        while file.read(&mut buffer)? != 0 {}
        Ok(file.finish().1)
    };
    read().map_err(StoreError::io("read", path))
}
