//! Why a layer was not packed or unpacked.

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
    /// A file could not be read.
    #[error("cannot read `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The stream could not be written.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    /// A name that would be read as a deletion.
    #[error("`{}` cannot be in a layer, where names that begin with `.wh.` are deletions; rename or exclude it", .path.display())]
    ReservedName { path: PathBuf },
    /// A path that unpacking would refuse.
    #[error("`{}` cannot be in a layer", .path.display())]
    Path { path: PathBuf, source: PathProblem },
    /// An overlay feature that layers cannot express.
    #[error(
        "`{}` has the overlay attribute `{xattr}`, which layers cannot express; \
         mount with `redirect_dir=off,metacopy=off,index=off`", .path.display()
    )]
    OverlayFeature { path: PathBuf, xattr: String },
    /// More than unpacking would take.
    #[error("it has more than {MAX_ENTRIES} files and directories, more than a layer can have; exclude some")]
    TooMany,
    /// Longer names and more attributes than unpacking would take.
    #[error("`{}` has more than {MAX_RECORDS} bytes of extended attributes; remove some", .path.display())]
    Attributes { path: PathBuf },
    /// Something is mounted in the directory.
    #[error("`{}` is on another file system than the layer; unmount or exclude it", .path.display())]
    MountPoint { path: PathBuf },
    /// Somebody is still writing.
    #[error("`{}` changed while it was read; stop what writes to it", .path.display())]
    Changed { path: PathBuf },
}

/// Why a layer was not unpacked. Whatever is in the directory by then is worthless.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes are not those of the layer.
    #[error(
        "the data is damaged: {found_size} bytes with {found}, expected were {size} bytes with {expected}"
    )]
    Damaged {
        /// What the layer declares.
        expected: Digest,
        size: u64,
        /// What was read.
        found: Digest,
        /// How much was read: at most one byte more than declared.
        found_size: u64,
    },
    /// The unpacked stream is not the declared one.
    #[error(
        "the unpacked data is {found_size} bytes with {found}, declared were {size} bytes with {expected}"
    )]
    WrongContent {
        /// The diff id declared.
        expected: Digest,
        size: u64,
        /// What it unpacks to.
        found: Digest,
        /// How much it unpacks to.
        found_size: u64,
    },
    /// It unpacks to more than it declares.
    #[error("it unpacks to more than the {declared} bytes it declares")]
    TooLarge {
        /// What it declares, in bytes.
        declared: u64,
    },
    /// It holds more than a layer may.
    #[error("it has more than the {limit} entries that a layer can have")]
    TooMany {
        /// How many it may have.
        limit: u64,
    },
    /// An entry that a layer must not have.
    #[error("its entry `{}` is refused: {reason}", printable(&.path.to_string_lossy()))]
    Refused {
        /// The entry's path in the layer, as far as it is known.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The stream could not be read or understood.
    #[error("its stream cannot be read")]
    Stream(#[source] io::Error),
    /// The destination could not be written.
    #[error("cannot make its `{}`", printable(&.path.to_string_lossy()))]
    Make {
        /// The entry's path in the layer.
        path: PathBuf,
        source: io::Error,
    },
}
