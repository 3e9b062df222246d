//! Errors of root file systems.

use std::io;
use std::path::{Path, PathBuf};

use crate::images::ImageError;
use crate::printable::printable;

/// Why a root file system cannot be read or unpacked. `entry` is a path in the root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootFsError {
    #[error("could not read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is compressed with {tool}, which is not supported; decompress it with `{tool} -dk`, or use gzip, xz, zstd or bzip2", path.display())]
    Compressed { path: PathBuf, tool: &'static str },
    #[error("`{}` is not a directory, tar archive or container image: {why}", path.display())]
    Unknown { path: PathBuf, why: String },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("`{}` has {} images, and a node has one OS; save one image alone", path.display(), names.len())]
    Several { path: PathBuf, names: Vec<String> },
    /// The archive ends before its end mark, or is malformed.
    #[error("`{}` is cut off or damaged; download or create it again", path.display())]
    Damaged { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be unpacked: its `{}` {reason}", path.display(), printable(&entry.to_string_lossy()))]
    Refused {
        path: PathBuf,
        entry: PathBuf,
        reason: String,
    },
    #[error("could not make `{}` of `{}`", printable(&entry.to_string_lossy()), path.display())]
    Make {
        path: PathBuf,
        entry: PathBuf,
        source: io::Error,
    },
    #[error("`{}` changed while it was read; stop what writes to it", path.display())]
    Changed { path: PathBuf },
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
