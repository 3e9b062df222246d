//! From a layer's stream to a directory in overlayfs form, trusting nothing.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;
use zstd::stream::read::Decoder;

use super::entry::{self, Entry, EntryProblem, Kind};
use super::error::UnpackError;
use super::path::LayerPath;
use super::pax::Records;
use super::tree::{Tree, TreeProblem};
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, WHITEOUT_PREFIX, xattrs};
use crate::digest::Hashing;
use crate::printable::printable;

/// Base-two logarithm of the largest window that a frame may ask for, and with it of the memory that it takes: 8 MiB, what
/// every decoder should have (RFC 8878, 3.1.1.1.2, "Window Descriptor"). [`pack`](super::pack()) asks for 2 MiB.
const WINDOW_LOG: u32 = 23;

/// Unpacks the stream `blob` of `layer` into the empty directory `dir`, and checks digest, size and diff id while it
/// streams.
///
/// # Errors
/// See [`UnpackError`]. When the bytes are not those of the layer, that is what the error says, whatever else
/// went wrong because of it.
pub fn unpack(blob: impl Read, layer: &Layer, dir: &Path) -> Result<(), UnpackError> {
    let mut blob = Hashing::new(blob.take(layer.size.saturating_add(1)));
    let outcome = unpack_stream(&mut blob, layer, dir);
    io::copy(&mut blob, &mut io::sink()).map_err(UnpackError::Stream)?;
    let (_, found, found_size) = blob.finish();
    if found != layer.digest || found_size != layer.size {
        let (expected, size) = (layer.digest.clone(), layer.size);
        return Err(UnpackError::Damaged {
            expected,
            size,
            found,
            found_size,
        });
    }
    outcome
}

fn unpack_stream(blob: impl Read, layer: &Layer, dir: &Path) -> Result<(), UnpackError> {
    let mut decoder = Decoder::new(blob).map_err(UnpackError::Stream)?;
    decoder.window_log_max(WINDOW_LOG).map_err(UnpackError::Stream)?;
    let bounded = Bounded {
        inner: decoder,
        left: layer.unpacked_size,
        exceeded: false,
    };
    let mut archive = tar::Archive::new(BufReader::with_capacity(128 * 1024, Hashing::new(bounded)));
    let outcome = unpack_entries(&mut archive, dir, MAX_ENTRIES);
    let mut rest = archive.into_inner();
    // What follows the archive's end counts too.
    let drained = io::copy(&mut rest, &mut io::sink());
    let (bounded, found, found_size) = rest.into_inner().finish();
    if bounded.exceeded {
        return Err(UnpackError::TooLarge {
            declared: layer.unpacked_size,
        });
    }
    outcome?;
    drained.map_err(UnpackError::Stream)?;
    if found != layer.diff_id || found_size != layer.unpacked_size {
        let (expected, size) = (layer.diff_id.clone(), layer.unpacked_size);
        return Err(UnpackError::WrongContent {
            expected,
            size,
            found,
            found_size,
        });
    }
    Ok(())
}

/// Makes what is in the archive below `dir`, up to `limit` entries.
pub(super) fn unpack_entries(
    archive: &mut tar::Archive<impl Read>,
    dir: &Path,
    limit: u64,
) -> Result<(), UnpackError> {
    let make = |source| UnpackError::Make {
        path: PathBuf::new(),
        source,
    };
    let mut tree = Tree::open(dir).map_err(make)?;
    let mut records: Option<Records> = None;
    let mut count = 0;
    for raw in archive.entries().map_err(UnpackError::Stream)?.raw(true) {
        let mut raw = raw.map_err(UnpackError::Stream)?;
        let place = PathBuf::from(String::from_utf8_lossy(&raw.header().path_bytes()).into_owned());
        let refused = |problem: EntryProblem| UnpackError::Refused {
            path: place,
            reason: chain(&problem),
        };
        if raw.header().entry_type() == EntryType::XHeader {
            if records.is_some() {
                return Err(refused(EntryProblem::Type(b'x')));
            }
            records = Some(entry::read_records(raw.size(), &mut raw).map_err(refused)?);
            continue;
        }
        let entry = Entry::read(raw.header(), records.take().unwrap_or_default()).map_err(refused)?;
        count += 1;
        if count > limit {
            return Err(UnpackError::TooMany { limit });
        }
        let path = entry.path.clone();
        tree.leave_for(&path)
            .map_err(|(path, problem)| refuse(&path, EntryRefusal::Tree(problem)))?;
        unpack_entry(&mut tree, entry, &mut raw).map_err(|problem| refuse(&path, problem))?;
    }
    tree.finish()
        .map_err(|(path, problem)| refuse(&path, EntryRefusal::Tree(problem)))
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

/// The error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    printable(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Ends with an error when more than `left` bytes come.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => {
                self.exceeded = true;
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
