//! Unpacks a layer's stream into a directory in overlayfs form. The stream may be hostile.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Kind};
use super::error::UnpackError;
use super::path::LayerPath;
use super::read::{self, chain};
use super::tree::{Tree, TreeProblem};
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, WHITEOUT_PREFIX, xattrs};

/// Unpacks the stream `blob` of `layer` into the empty directory `dir`, and verifies digest, size and diff id on the way.
///
/// # Errors
/// See [`UnpackError`]. A wrong digest takes precedence over errors that it causes.
pub fn unpack(blob: impl Read, layer: &Layer, dir: &Path) -> Result<(), UnpackError> {
    read::checked(blob, layer, |plain| unpack_entries(plain, dir, MAX_ENTRIES))
}

/// Unpacks at most `limit` entries of an uncompressed stream.
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

/// Why a valid entry is rejected.
#[derive(Debug, thiserror::Error)]
enum EntryRefusal {
    #[error(transparent)]
    Tree(#[from] TreeProblem),
    #[error("it is not a valid whiteout, which is an empty file `.wh.NAME`")]
    Whiteout,
    #[error("the attribute `{0}` is not supported")]
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
        // `.wh..`, `.wh...` and AUFS's own `.wh..wh.*` do not name a file.
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
