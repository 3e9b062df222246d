//! A layer: an overlay upper directory as a tar stream, and back.
//!
//! # The stream
//! A pax archive (POSIX.1-2024, pax, "pax Interchange Format") compressed with zstd, with deletions spelled as
//! OCI whiteouts (OCI image-spec 1.1, layer.md, "Whiteouts"). The digest is that of the compressed, the
//! diff id that of the plain stream. Equal trees give equal bytes: entries are sorted, owners are numbers,
//! nothing depends on inode numbers, on time, or on which blocks are allocated.
//!
//! ```text
//! ./                      the directory itself; every directory comes before what is in it,
//! ├── .wh..wh..opq        "hide all that lower layers have here": overlay's trusted.overlay.opaque=y
//! ├── .wh.NAME            "NAME is deleted": overlay's character device 0:0
//! ├── NAME                then the other names, in byte order
//! │     ustar header      type, mode, owner, whole seconds, names of up to 100 bytes
//! │     pax records       path, linkpath (longer ones), hdrcharset=BINARY (when those are no UTF-8),
//! │                       mtime (with a fraction, or before 1970), SCHILY.xattr.NAME (`%` and `=` in NAME
//! │                       as `%25` and `%3D`, as GNU tar has it)
//! └── ...                 later names of a file with several are hard links to its first
//! ```
//!
//! Not stored: sockets and device nodes (a machine's are made when it starts), overlay's own book-keeping, labels that belong to a host (SELinux, IMA, EVM), access
//! times, and file attributes of `chattr`. Sparse files are stored in full, for zeros compress to nothing and
//! the bytes stay the same wherever the holes are; unpacking leaves out every block of zeros, so they come
//! back sparse.
//!
//! # Unpacking
//! The stream may be hostile. Nothing is created but below the destination, no link is followed on the way, nothing
//! is created twice, a directory has to come before what is in it and is complete when something else follows, device
//! nodes are refused, and no more is read than the layer declares, so what it takes on disk is bounded too. What is read
//! is hashed on the way; the directory is worthless unless [`unpack()`] returns `Ok`.
//!
//! | bound | is | a bake's largest has |
//! |---|---|---|
//! | entries | 4,194,304 | 3861 |
//! | names in a path, bytes of a path | 256, 4095 | 11, 129 |
//! | pax records of an entry (its attributes) | 256 KiB | 158 bytes |
//! | window of the compressor | 8 MiB | 2 MiB |
//! | layers of an artifact, and what they unpack to | see [`Config::check`](crate::Config::check) | |
//!
//! So memory is bounded too: by the window, and by one directory's header and ACLs for every name in a path.
//!
//! Both ways need root of the host: nobody else sees `trusted.*` attributes, so opaque directories would be lost.
//!
//! # Deltas
//! A layer can also come as a delta: what makes its plain stream out of an older layer's. It is compressed again as
//! packing would, so the blob is the same, byte by byte, and nothing is believed but its digest. A delta may be as hostile
//! as a layer: it makes no more than the layer declares, and takes less than 100 MB of memory, whatever it says.

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

/// Entries of a layer: inodes that it takes at most.
const MAX_ENTRIES: u64 = 1 << 22;
/// First bytes of names that mean deletions (OCI image-spec 1.1, layer.md, "Whiteouts").
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The name that makes its directory opaque.
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// Doors for [`crate::fuzzing`] to what is private here.
#[cfg(any(fuzzing, test))]
mod fuzzing {
    use std::path::Path;

    use super::UnpackError;
    use super::pax::Records;

    /// Unpacks a stream that is not compressed, whatever its digest.
    pub(crate) fn unpack_plain(stream: &[u8], dir: &Path) -> Result<(), UnpackError> {
        super::unpack::unpack_entries(stream, dir, super::MAX_ENTRIES)
    }

    /// What a delta makes of a stream that is not compressed.
    pub(crate) fn apply_delta(old: &[u8], delta: &[u8], limit: u64) -> std::io::Result<Vec<u8>> {
        let mut made = Vec::new();
        super::delta::apply(old, delta, &mut made, limit).map(|()| made)
    }

    /// The delta between two streams that are not compressed.
    #[cfg(test)]
    pub(crate) fn made_delta(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut made = Vec::new();
        super::delta::make(&[None], old, new, &mut made).expect("memory can be read and written");
        made
    }

    /// Records that can be read are the same after they were written.
    pub(crate) fn check_records(bytes: &[u8]) {
        if let Ok(records) = Records::decode(bytes) {
            assert_eq!(Records::decode(&records.encode()), Ok(records));
        }
    }
}

/// One layer of an artifact: what it is called and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What is in it, for people: `os`, `kubelet`, `machine/node01`. Unique in an artifact.
    pub title: String,
    /// Digest of the compressed stream: the blob's name.
    pub digest: Digest,
    /// Digest of the plain tar stream.
    pub diff_id: Digest,
    /// Length of the compressed stream in bytes.
    pub size: u64,
    /// Length of the plain tar stream in bytes; no more will ever be unpacked.
    pub unpacked_size: u64,
}
