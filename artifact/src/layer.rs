//! Layers: packing an overlay upper directory into a tar stream, and unpacking it.
//!
//! # The stream
//! A pax archive (POSIX.1-2024, pax, "pax Interchange Format") compressed with zstd, with deletions spelled as
//! OCI whiteouts (OCI image-spec 1.1, layer.md, "Whiteouts"). The digest is that of the compressed, the
//! diff id that of the uncompressed stream. Equal trees give equal bytes: entries are sorted, owners are numbers, and nothing
//! depends on inode numbers, on time, or on which blocks are allocated.
//!
//! ```text
//! ./                      the directory itself; directories come before their children,
//! ├── .wh..wh..opq        hides the content of lower layers: overlay's trusted.overlay.opaque=y
//! ├── .wh.NAME            deletes NAME: overlay's character device 0:0
//! ├── NAME                then the other names, in byte order
//! │     ustar header      type, mode, owner, whole seconds, names of up to 100 bytes
//! │     pax records       path, linkpath (longer ones), hdrcharset=BINARY (when those are no UTF-8),
//! │                       mtime (with a fraction, or before 1970), SCHILY.xattr.NAME (`%` and `=` in NAME
//! │                       as `%25` and `%3D`, as GNU tar has it)
//! └── ...                 later names of a file with several are hard links to its first
//! ```
//!
//! Not stored: sockets, device nodes (which are created when a machine starts), overlay's bookkeeping, labels of a host
//! (SELinux, IMA, EVM), access times, and file attributes of `chattr`. Sparse files are stored in full: zeros compress well, and
//! the bytes do not depend on the holes. Unpacking makes a hole of every block of zeros.
//!
//! # Unpacking
//! The stream may be hostile. Everything is created below the destination, without following links; nothing is created twice;
//! a directory must come before its children and is complete once anything else follows; device nodes are rejected; and no more
//! is read than the layer declares, which also bounds its disk usage. The stream is hashed on the way; the directory must not be
//! used unless [`unpack()`] returns `Ok`.
//!
//! | bound | limit | largest in a bake |
//! |---|---|---|
//! | entries | 4,194,304 | 3861 |
//! | names in a path, bytes of a path | 256, 4095 | 11, 129 |
//! | pax records of an entry (its attributes) | 256 KiB | 158 bytes |
//! | window of the decompressor | 8 MiB | 2 MiB |
//! | layers of an artifact, and their unpacked size | see [`Config::check`](crate::Config::check) | |
//!
//! Memory is bounded, too: by the window, and by the header and ACLs of each directory in a path.
//!
//! Packing and unpacking need root on the host: only root sees `trusted.*` attributes, which mark opaque directories.
//!
//! # Deltas
//! A layer can be downloaded as a delta to the uncompressed stream of an older layer. The result is compressed as packing does, so
//! the blob is identical, and verified by its digest. A delta may be as hostile as a layer: its output is limited to the declared
//! size, and its memory to less than 100 MB.

mod anchors;
mod contents;
mod delta;
mod entry;
mod error;
mod pack;
mod path;
mod pax;
mod read;
mod rebuild;
#[cfg(test)]
pub(crate) mod test_stream;
mod tree;
mod unpack;
mod verify;
mod xattrs;

#[cfg(test)]
pub(crate) use fuzzing::made_delta;
#[cfg(any(fuzzing, test))]
pub(crate) use fuzzing::{apply_delta, check_records, unpack_plain};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub(crate) use contents::{Facts, Type, contents};
pub use error::{PackError, UnpackError};
pub use pack::{PackOptions, Packed, pack};
pub use path::PathProblem;
pub(crate) use rebuild::{make_delta, rebuild};
pub use unpack::unpack;
pub use verify::{Mismatch, MismatchKind, Verification, verify};
pub(crate) use xattrs::{is_bookkeeping, may_unpack};

/// Maximum number of entries, and thereby of inodes, of a layer.
const MAX_ENTRIES: u64 = 1 << 22;
/// Prefix of names that are deletions (OCI image-spec 1.1, layer.md, "Whiteouts").
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The name that makes its directory opaque.
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// Access to private functions for [`crate::fuzzing`].
#[cfg(any(fuzzing, test))]
mod fuzzing {
    use std::path::Path;

    use super::UnpackError;
    use super::pax::Records;

    /// Unpacks an uncompressed stream without checking its digest.
    pub(crate) fn unpack_plain(stream: &[u8], dir: &Path) -> Result<(), UnpackError> {
        super::unpack::unpack_entries(stream, dir, super::MAX_ENTRIES)
    }

    /// Applies a delta to an uncompressed stream.
    pub(crate) fn apply_delta(old: &[u8], delta: &[u8], limit: u64) -> std::io::Result<Vec<u8>> {
        let mut made = Vec::new();
        super::delta::apply(old, delta, &mut made, limit).map(|()| made)
    }

    /// The delta between two uncompressed streams.
    #[cfg(test)]
    pub(crate) fn made_delta(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut made = Vec::new();
        super::delta::make(&[None], old, new, &mut made).expect("memory can be read and written");
        made
    }

    /// Checks that valid records survive a round trip.
    pub(crate) fn check_records(bytes: &[u8]) {
        if let Ok(records) = Records::decode(bytes) {
            assert_eq!(Records::decode(&records.encode()), Ok(records));
        }
    }
}

/// A layer of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// A title for people, unique in the artifact: `os`, `kubelet`, `machine/node01`.
    pub title: String,
    /// Digest of the compressed stream, the blob.
    pub digest: Digest,
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Length of the compressed stream in bytes.
    pub size: u64,
    /// Length of the uncompressed tar stream in bytes.
    pub unpacked_size: u64,
}
