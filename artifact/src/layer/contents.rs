//! Lists the content of a layer without unpacking it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use super::entry::{Entry, Kind};
use super::error::UnpackError;
use super::path::LayerPath;
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, WHITEOUT_PREFIX, read};
use crate::digest::{Digest, HashingStream};

/// An object in a layer; data is represented by digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: Type,
    /// For files.
    pub(crate) size: Option<u64>,
    pub(crate) content: Option<Digest>,
    /// For links, as stored.
    pub(crate) target: Option<Vec<u8>>,
    /// True for a directory that hides the content of lower layers.
    pub(crate) opaque: bool,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds since 1970, and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Digests of the values, by name.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Directory,
    File,
    Symlink,
    HardLink,
    Fifo,
    Whiteout,
}

/// Reads the stream `blob` of `layer` into a map of its objects by path.
///
/// # Errors
/// As for [`unpack`](super::unpack()), except those that need a file system.
pub(crate) fn contents(blob: impl Read, layer: &Layer) -> Result<BTreeMap<PathBuf, Facts>, UnpackError> {
    read::checked(blob, layer, |plain| {
        let mut all = BTreeMap::new();
        read::entries(plain, MAX_ENTRIES, |entry, data| {
            let path = entry.path.as_path().to_owned();
            let refused = |reason: &str| UnpackError::Refused {
                path: path.clone(),
                reason: reason.to_owned(),
            };
            let (at, deleted) = subject(&entry.path);
            if entry.path.split().is_some_and(|(_, name)| name == OPAQUE_MARKER) {
                let dir: Option<&mut Facts> = all.get_mut(at.as_path());
                dir.ok_or_else(|| refused("its directory is not in the layer before it"))?
                    .opaque = true;
                return Ok(());
            }
            let facts = facts(entry, deleted, data).map_err(UnpackError::Stream)?;
            match all.insert(at.as_path().to_owned(), facts) {
                Some(_) => Err(refused("it is in the layer twice")),
                None => Ok(()),
            }
        })?;
        Ok(all)
    })
}

/// The path that an entry applies to, and whether the entry deletes it. A marker applies to its directory, a whiteout to the name
/// it deletes.
fn subject(path: &LayerPath) -> (LayerPath, bool) {
    match path.split() {
        Some((parent, name)) if name == OPAQUE_MARKER => (parent, false),
        Some((parent, name)) => match name.strip_prefix(WHITEOUT_PREFIX) {
            Some(deleted) => (parent.join(deleted), true),
            None => (path.clone(), false),
        },
        None => (path.clone(), false),
    }
}

fn facts(entry: Entry, deleted: bool, data: &mut dyn Read) -> io::Result<Facts> {
    let (mut size, mut content, mut target) = (None, None, None);
    let kind = match entry.kind {
        _ if deleted => Type::Whiteout,
        Kind::Directory => Type::Directory,
        Kind::File { size: bytes } => {
            let mut hashing = HashingStream::new(data);
            io::copy(&mut hashing, &mut io::sink())?;
            (size, content) = (Some(bytes), Some(hashing.finish().1));
            Type::File
        }
        Kind::Symlink { target: to } => {
            target = Some(to);
            Type::Symlink
        }
        Kind::HardLink { to } => {
            target = Some(to.as_bytes().to_vec());
            Type::HardLink
        }
        Kind::Fifo => Type::Fifo,
    };
    let digests = entry
        .xattrs
        .into_iter()
        .map(|(name, value)| (name, Digest::of(&value)));
    Ok(Facts {
        kind,
        size,
        content,
        target,
        opaque: false,
        mode: entry.mode,
        owner: (entry.uid, entry.gid),
        mtime: (entry.mtime.seconds, entry.mtime.nanoseconds),
        xattrs: digests.collect(),
    })
}
