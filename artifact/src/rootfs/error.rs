//! Why something cannot be a root file system.

use std::io;
use std::path::{Path, PathBuf};

use crate::images::ImageError;
use crate::printable::printable;

/// Why a root file system cannot be read or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum RootFsError {
    /// It could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is compressed in a way that is not understood.
    #[error("`{}` is compressed with {with}; unpack it first, for example with `{with} -dk`, or use gzip, xz or zstd", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The tool.
        with: &'static str,
    },
    /// It is something else.
    #[error("`{}` is no directory, tar archive or container image: {why}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The container image is not whole.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There are several images.
    #[error("`{}` holds {} images, and a node has one OS; save one alone", path.display(), names.len())]
    Several {
        /// The file.
        path: PathBuf,
        /// What they are called.
        names: Vec<String>,
    },
    /// The archive ends before its end mark, or makes no sense.
    #[error("`{}` is cut off or damaged; get it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: io::Error,
    },
    /// An entry that a tree must not have.
    #[error("`{}` cannot be unpacked: its `{}` {reason}", path.display(), printable(&entry.to_string_lossy()))]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// The entry's path in it.
        entry: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry could not be made.
    #[error("could not make `{}` of `{}`", printable(&entry.to_string_lossy()), path.display())]
    Make {
        /// The file or directory that has it.
        path: PathBuf,
        /// The entry's path in it.
        entry: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody writes to it.
    #[error("`{}` changed while it was read; stop what writes to it", path.display())]
    Changed {
        /// The file or directory.
        path: PathBuf,
    },
}

impl RootFsError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(super) fn refused(path: &Path, entry: &Path, reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.to_owned(),
            entry: entry.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn make(path: &Path, entry: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let (path, entry) = (path.to_owned(), entry.to_owned());
        move |source| Self::Make { path, entry, source }
    }
}
