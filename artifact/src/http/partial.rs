//! A file whose content arrives in pieces, over several connections and processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, HashingStream};

/// A file with the beginning of a download, and the hash of what it holds. It stays when the value is dropped or the process
/// dies, so that the next download continues it.
pub(crate) struct PartialFile {
    path: PathBuf,
    /// `None` while there is nothing, so that no empty file is left behind.
    out: Option<HashingStream<File>>,
}

/// A downloaded file with the right digest, still under its temporary name.
#[derive(Debug)]
pub(crate) struct CompleteFile {
    pub(crate) path: PathBuf,
    /// Positioned at its end.
    pub(crate) file: File,
}

impl PartialFile {
    /// Opens the file at `path`, if there is one, and hashes its content. One with more than `limit` bytes is removed.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let mut partial = Self {
            path: path.to_owned(),
            out: None,
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > limit => partial.restart()?,
            Ok(_) => {
                let mut file = partial.create()?;
                let mut buffer = vec![0; 256 * 1024];
                // Reading to the end leaves the file positioned for what is written next.
                while file.read(&mut buffer)? != 0 {}
                partial.out = Some(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(partial)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        self.out.as_ref().map_or(0, HashingStream::length)
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.out.is_none() {
            self.out = Some(self.create()?);
        }
        match &mut self.out {
            Some(out) => out.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Removes what has arrived.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.out = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the file if it has the digest `expected`; if not, removes it and returns the digest found.
    pub(crate) fn complete(&mut self, expected: &Digest) -> io::Result<Result<CompleteFile, Digest>> {
        let out = match self.out.take() {
            Some(out) => out,
            None => self.create()?,
        };
        let (file, found, _) = out.finish();
        if found != *expected {
            self.restart()?;
            return Ok(Err(found));
        }
        Ok(Ok(CompleteFile {
            path: self.path.clone(),
            file,
        }))
    }

    fn create(&self) -> io::Result<HashingStream<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        Ok(HashingStream::new(options.open(&self.path)?))
    }
}

impl CompleteFile {
    /// Gives the file its final name.
    pub(crate) fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(self.path, to)
    }
}
