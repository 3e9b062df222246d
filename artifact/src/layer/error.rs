//! Errors of packing and unpacking layers.

use std::io;
use std::path::PathBuf;

use super::MAX_ENTRIES;
use super::entry::MAX_RECORDS;
use super::path::PathProblem;
use crate::digest::Digest;
use crate::printable::printable;

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot read `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    #[error("`{}` cannot be in a layer, where names with the prefix `.wh.` are deletions; rename or exclude it", .path.display())]
    ReservedName { path: PathBuf },
    #[error("`{}` cannot be in a layer", .path.display())]
    Path { path: PathBuf, source: PathProblem },
    #[error(
        "`{}` has the overlay attribute `{xattr}`, which layers do not support; \
         mount with `redirect_dir=off,metacopy=off,index=off`", .path.display()
    )]
    OverlayFeature { path: PathBuf, xattr: String },
    #[error("it has more than {MAX_ENTRIES} files and directories, the limit for a layer; exclude some")]
    TooMany,
    #[error("`{}` has more than {MAX_RECORDS} bytes of extended attributes; remove some", .path.display())]
    Attributes { path: PathBuf },
    #[error("`{}` is on another file system than the layer; unmount or exclude it", .path.display())]
    MountPoint { path: PathBuf },
    #[error("`{}` changed while it was read; stop what writes to it", .path.display())]
    Changed { path: PathBuf },
}

/// Why a layer was not unpacked. The directory must not be used then.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(
        "the data is damaged: expected {size} bytes with {expected}, found {found_size} bytes with {found}"
    )]
    Damaged {
        expected: Digest,
        size: u64,
        found: Digest,
        /// At most one byte more than declared.
        found_size: u64,
    },
    #[error(
        "the unpacked data differs: expected {size} bytes with {expected}, found {found_size} bytes with {found}"
    )]
    WrongContent {
        expected: Digest,
        size: u64,
        found: Digest,
        found_size: u64,
    },
    #[error("it unpacks to more than the {declared} bytes it declares")]
    TooLarge { declared: u64 },
    #[error("it has more than {limit} entries, the limit for a layer")]
    TooMany { limit: u64 },
    #[error("its entry `{}` is rejected: {reason}", printable(&.path.to_string_lossy()))]
    Refused {
        /// Path in the layer, as far as it is known.
        path: PathBuf,
        reason: String,
    },
    #[error("its stream cannot be read")]
    Stream(#[source] io::Error),
    #[error("cannot make its `{}`", printable(&.path.to_string_lossy()))]
    Make { path: PathBuf, source: io::Error },
}
