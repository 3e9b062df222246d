//! A tar stream as a tree, or as a layer over what is there (OCI image-spec 1.1, layer.md).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::error::RootFsError;
use super::writer::Tree;
use super::{Entry, Kind, is_machines_own};
use crate::layer::may_unpack;

/// Two blocks of zeros end an archive; the reader stops after the first.
const BLOCK: usize = 512;
/// Names that mean deletions (OCI image-spec 1.1, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Pax records of extended attributes, and of a form of sparse files that would be unpacked wrongly.
const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A tree by itself.
    Whole,
    /// A layer: it deletes, too.
    Layer,
}

/// Unpacks the plain tar stream `from`, which is in `path`, into `tree`.
pub(super) fn unpack(from: impl Read, tree: &Tree, form: Form, path: &Path) -> Result<(), RootFsError> {
    let mut from = Ending::new(from);
    let damaged = |source| RootFsError::Damaged {
        path: path.to_owned(),
        source,
    };
    let mut added = BTreeSet::new();
    {
        let mut archive = tar::Archive::new(&mut from);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let Some(described) = describe(&mut entry, path, damaged)? else {
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
            // A stream that breaks off is the archive's fault, not that of the file that was being made.
            let mut broken = None;
            let data = Noting(&mut entry, &mut broken);
            let made = tree.put(&described, data);
            if let Some(kind) = broken {
                return Err(damaged(kind.into()));
            }
            made.map_err(make)?;
            added.extend(at.ancestors().map(Path::to_owned));
        }
    }
    // Else what was cut between two entries would pass for whole.
    if !from.is_marked() {
        return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
    }
    // Checksums of compressed streams stand at their end.
    io::copy(&mut from, &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// Nothing for what is not to be made.
fn describe<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    archive: &Path,
    damaged: impl Fn(io::Error) -> RootFsError + Copy,
) -> Result<Option<Entry>, RootFsError> {
    let raw = entry.path_bytes().into_owned();
    let raw = Path::new(OsStr::from_bytes(&raw));
    let refused = |reason: &str| RootFsError::refused(archive, raw, reason);
    let path = plain(raw).ok_or_else(|| refused("would leave the directory that it is unpacked into"))?;
    let header = entry.header();
    let kind = header.entry_type();
    let number = |field: io::Result<u64>| {
        u32::try_from(field.map_err(damaged)?).map_err(|_| refused("has no possible owner"))
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
        // Archives from before POSIX have no other sign of a directory.
        EntryType::Regular if raw.as_os_str().as_bytes().ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Symlink if link.as_os_str().is_empty() => return Err(refused("is a link to nothing")),
        EntryType::Symlink => Kind::Symlink(link),
        EntryType::Link => match plain(&link) {
            Some(to) if !to.as_os_str().is_empty() => Kind::HardLink(to),
            _ => return Err(refused("is a hard link to something outside")),
        },
        EntryType::Fifo => Kind::Fifo,
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::Char | EntryType::Block if is_machines_own(&path) => return Ok(None),
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
        if record.key_bytes().starts_with(SPARSE) {
            return Err(refused(
                "is a sparse file in a form that is not read here; make the archive without `--sparse`",
            ));
        }
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

/// The path without `/` and `./` before it; nothing for one with `..`.
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

/// Deletes what layers below have; what this one `added` stays, wherever in the stream the deletion stands.
fn delete(tree: &Tree, parent: &Path, name: &[u8], added: &BTreeSet<PathBuf>) -> io::Result<()> {
    if name == OPAQUE {
        return clear(tree, parent, added);
    }
    let deleted = &name[WHITEOUT.len()..];
    // Those of AUFS itself delete nothing.
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

/// Notes why reading failed.
struct Noting<'a, R>(R, &'a mut Option<io::ErrorKind>);

impl<R: Read> Read for Noting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .inspect_err(|error| *self.1 = Some(error.kind()))
    }
}

/// Remembers whether the last block that was read is one of zeros.
struct Ending<R> {
    from: R,
    /// How many zeros were read last.
    zeros: usize,
}

impl<R: Read> Ending<R> {
    fn new(from: R) -> Self {
        Self { from, zeros: 0 }
    }

    fn is_marked(&self) -> bool {
        self.zeros >= BLOCK
    }
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        match buffer[..read].iter().rposition(|byte| *byte != 0) {
            Some(last) => self.zeros = read - 1 - last,
            None => self.zeros = self.zeros.saturating_add(read),
        }
        Ok(read)
    }
}
