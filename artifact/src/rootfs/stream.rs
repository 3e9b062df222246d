//! Unpacks a tar stream as a whole tree, or as a layer over an existing one (OCI image-spec 1.1, layer.md).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::error::RootFsError;
use super::writer::Tree;
use super::{Entry, Kind, is_device_path};
use crate::layer::may_unpack;
use crate::sparse::Sparse;

/// Two blocks of zeros end an archive; the reader stops after the first.
const BLOCK: usize = 512;
/// Prefix of names that are deletions (OCI image-spec 1.1, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Pax records of extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// May delete files of the tree.
    Layer,
}

/// Unpacks the uncompressed tar stream `from` of the archive `path` into `tree`.
pub(super) fn unpack(from: impl Read, tree: &Tree, form: Form, path: &Path) -> Result<(), RootFsError> {
    let mut from = EndMark::new(from);
    let damaged = |source| RootFsError::Damaged {
        path: path.to_owned(),
        source,
    };
    let mut added = BTreeSet::new();
    {
        let mut archive = tar::Archive::new(&mut from);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let sparse = Sparse::of(&mut entry).map_err(damaged)?;
            let name = sparse.as_ref().and_then(|sparse| sparse.name.as_deref());
            let Some(described) = describe(&mut entry, name, path, damaged)? else {
                continue;
            };
            let at = described.path.clone();
            let make = RootFsError::make(path, &at);
            if form == Form::Layer
                && let Some(name) = at.file_name().map(OsStr::as_bytes)
                && name.starts_with(WHITEOUT)
            {
                let parent = at.parent().unwrap_or(Path::new(""));
                delete(tree, parent, name, &added).map_err(make)?;
                continue;
            }
            // A read error is the archive's, not that of the file being written.
            let mut broken = None;
            let made = match sparse {
                Some(sparse) => {
                    let expanded = sparse.expand(&mut entry).map_err(damaged)?;
                    tree.put(&described, RecordError(expanded, &mut broken))
                }
                None => tree.put(&described, RecordError(&mut entry, &mut broken)),
            };
            if let Some(kind) = broken {
                return Err(damaged(kind.into()));
            }
            made.map_err(make)?;
            added.extend(at.ancestors().map(Path::to_owned));
        }
    }
    // Otherwise an archive cut off between two entries would be accepted.
    if !from.is_marked() {
        return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
    }
    // Read to the end, where compressed streams have their checksums.
    io::copy(&mut from, &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// The entry, with `name` instead of its own; `None` if it is not unpacked.
fn describe<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    name: Option<&Path>,
    archive: &Path,
    damaged: impl Fn(io::Error) -> RootFsError + Copy,
) -> Result<Option<Entry>, RootFsError> {
    let raw = entry.path_bytes().into_owned();
    let raw = name.unwrap_or(Path::new(OsStr::from_bytes(&raw)));
    let refused = |reason: &str| RootFsError::refused(archive, raw, reason);
    let path = plain(raw).ok_or_else(|| refused("would leave the directory that it is unpacked into"))?;
    let header = entry.header();
    let kind = header.entry_type();
    let number = |field: io::Result<u64>| {
        u32::try_from(field.map_err(damaged)?).map_err(|_| refused("has an invalid owner"))
    };
    let (uid, gid) = (number(header.uid())?, number(header.gid())?);
    let mode = header.mode().map_err(damaged)? & 0o7777;
    let link = entry
        .link_name_bytes()
        .map(|name| name.into_owned())
        .unwrap_or_default();
    let link = PathBuf::from(OsStr::from_bytes(&link));
    let kind = match kind {
        EntryType::Directory => Kind::Directory,
        // Pre-POSIX archives mark directories like this.
        EntryType::Regular if raw.as_os_str().as_bytes().ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Symlink if link.as_os_str().is_empty() => {
            return Err(refused("is a link without a target"));
        }
        EntryType::Symlink => Kind::Symlink(link),
        EntryType::Link => match plain(&link) {
            Some(to) if !to.as_os_str().is_empty() => Kind::HardLink(to),
            _ => return Err(refused("is a hard link to a path outside")),
        },
        EntryType::Fifo => Kind::Fifo,
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::Char | EntryType::Block if is_device_path(&path) => return Ok(None),
        EntryType::Char | EntryType::Block => {
            return Err(refused("is a device, and a node's are made when it starts"));
        }
        other => {
            return Err(refused(&format!(
                "is of a type that is not known, {:#04x}",
                other.as_byte()
            )));
        }
    };
    let mut xattrs = BTreeMap::new();
    for record in entry.pax_extensions().map_err(damaged)?.into_iter().flatten() {
        let record = record.map_err(damaged)?;
        if let Some(name) = record.key_bytes().strip_prefix(XATTR)
            && may_unpack(name)
            && matches!(kind, Kind::File | Kind::Directory)
        {
            xattrs.insert(name.to_owned(), record.value_bytes().to_owned());
        }
    }
    Ok(Some(Entry {
        path,
        kind,
        mode,
        uid,
        gid,
        xattrs,
    }))
}

/// The path without leading `/` and `./`; `None` if it has a `..`.
pub(super) fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// Deletes what lower layers have. Files that this layer `added` stay, whatever the order in the stream.
fn delete(tree: &Tree, parent: &Path, name: &[u8], added: &BTreeSet<PathBuf>) -> io::Result<()> {
    if name == OPAQUE {
        return clear(tree, parent, added);
    }
    let deleted = &name[WHITEOUT.len()..];
    // AUFS's own whiteouts delete nothing.
    if matches!(deleted, b"" | b"." | b"..") || deleted.starts_with(WHITEOUT) {
        return Ok(());
    }
    let path = parent.join(OsStr::from_bytes(deleted));
    match added.contains(&path) {
        true => Ok(()),
        false => tree.remove(&path),
    }
}

fn clear(tree: &Tree, dir: &Path, added: &BTreeSet<PathBuf>) -> io::Result<()> {
    for (child, is_dir) in tree.children(dir)? {
        match (added.contains(&child), is_dir) {
            (false, _) => tree.remove(&child)?,
            (true, true) => clear(tree, &child, added)?,
            (true, false) => {}
        }
    }
    Ok(())
}

/// A reader that records the kind of its last error.
struct RecordError<'a, R>(R, &'a mut Option<io::ErrorKind>);

impl<R: Read> Read for RecordError<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .inspect_err(|error| *self.1 = Some(error.kind()))
    }
}

/// A reader that tracks whether the stream ends with a block of zeros.
struct EndMark<R> {
    from: R,
    /// Number of zeros at the end of what was read.
    zeros: usize,
}

impl<R: Read> EndMark<R> {
    fn new(from: R) -> Self {
        Self { from, zeros: 0 }
    }

    fn is_marked(&self) -> bool {
        self.zeros >= BLOCK
    }
}

impl<R: Read> Read for EndMark<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        match buffer[..read].iter().rposition(|byte| *byte != 0) {
            Some(last) => self.zeros = read - 1 - last,
            None => self.zeros = self.zeros.saturating_add(read),
        }
        Ok(read)
    }
}
