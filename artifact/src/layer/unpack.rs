//! From a layer's stream to a directory in overlayfs form, trusting nothing.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Kind};
use super::error::UnpackError;
use super::path::LayerPath;
use super::read::{self, chain};
use super::tree::{Tree, TreeProblem};
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, WHITEOUT_PREFIX, xattrs};

/// Unpacks the stream `blob` of `layer` into the empty directory `dir`, and checks digest, size and diff id while it
/// streams.
///
/// # Errors
/// See [`UnpackError`]. When the bytes are not those of the layer, that is what the error says, whatever else
/// went wrong because of it.
pub fn unpack(blob: impl Read, layer: &Layer, dir: &Path) -> Result<(), UnpackError> {
    read::checked(blob, layer, |plain| unpack_entries(plain, dir, MAX_ENTRIES))
}

/// Makes what is in the archive below `dir`, up to `limit` entries.
pub(super) fn unpack_entries(plain: impl Read, dir: &Path, limit: u64) -> Result<(), UnpackError> {
    let make = |source| UnpackError::Make {
        path: PathBuf::new(),
        source,
    };
    let mut tree = Tree::open(dir).map_err(make)?;
    read::entries(plain, limit, |entry, data| {
        let path = entry.path.clone();
        tree.leave_for(&path).map_err(refuse_directory)?;
        unpack_entry(&mut tree, entry, data).map_err(|problem| refuse(&path, problem))
    })?;
    tree.finish().map_err(refuse_directory)
}

/// Why an entry that can be read is not unpacked.
#[derive(Debug, thiserror::Error)]
enum EntryRefusal {
    #[error(transparent)]
    Tree(#[from] TreeProblem),
    #[error("it deletes nothing that can be deleted: a whiteout is an empty file `.wh.NAME`")]
    Whiteout,
    #[error("layers do not have the attribute `{0}`")]
    Xattr(String),
}

fn unpack_entry(tree: &mut Tree, entry: Entry, data: impl Read) -> Result<(), EntryRefusal> {
    if let Some((parent, name)) = entry.path.split()
        && let Some(deleted) = name.strip_prefix(WHITEOUT_PREFIX)
    {
        if entry.kind != (Kind::File { size: 0 }) {
            return Err(EntryRefusal::Whiteout);
        }
        if name == OPAQUE_MARKER {
            return Ok(tree.opaque(&parent)?);
        }
        // `.wh..`, `.wh...` and AUFS's own `.wh..wh.*` delete no name that a tree can have.
        if matches!(deleted, b"" | b"." | b"..") || deleted.starts_with(WHITEOUT_PREFIX) {
            return Err(EntryRefusal::Whiteout);
        }
        return Ok(tree.whiteout(&parent.join(deleted))?);
    }
    if let Some(name) = entry.xattrs.keys().find(|name| !xattrs::may_unpack(name)) {
        return Err(EntryRefusal::Xattr(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(tree.make(entry, data)?)
}

fn refuse(path: &LayerPath, problem: EntryRefusal) -> UnpackError {
    let path = path.as_path().to_owned();
    match problem {
        EntryRefusal::Tree(TreeProblem::Make(source)) => UnpackError::Make { path, source },
        EntryRefusal::Tree(TreeProblem::Read(source)) => UnpackError::Stream(source),
        other => UnpackError::Refused {
            path,
            reason: chain(&other),
        },
    }
}

fn refuse_directory((path, problem): (LayerPath, TreeProblem)) -> UnpackError {
    refuse(&path, EntryRefusal::Tree(problem))
}

#[cfg(test)]
mod tests;
