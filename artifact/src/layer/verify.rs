//! Compares a layer's stream with the directory that it was unpacked into.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use walkdir::WalkDir;

use super::entry::{Entry, Kind};
use super::path::LayerPath;
use super::pax::Mtime;
use super::xattrs::{self, Xattr, Xattrs};
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, UnpackError, WHITEOUT_PREFIX, read};

/// Bytes compared at a time.
const BUFFER: usize = 256 * 1024;

/// A difference between an unpacked layer and its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Relative to the layer's root, which is the empty path.
    pub path: PathBuf,
    pub kind: MismatchKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MismatchKind {
    #[error("is missing")]
    Missing,
    #[error("is not in the layer")]
    Extra,
    /// For example a directory in place of a file.
    #[error("has another type")]
    Kind,
    #[error("has different content")]
    Bytes,
    #[error("has {found} bytes instead of {expected}")]
    Length { expected: u64, found: u64 },
    /// Permission, set-id or sticky bits.
    #[error("has mode {found:o} instead of {expected:o}")]
    Mode { expected: u32, found: u32 },
    #[error("belongs to {} instead of {}", owner(.found), owner(.expected))]
    Owner { expected: (u32, u32), found: (u32, u32) },
    #[error("has another modification time")]
    Time,
    #[error("has other extended attributes")]
    Xattrs,
    #[error("has another link target")]
    Target,
    #[error("is not a hard link to `{}`", .0.display())]
    HardLink(PathBuf),
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// The result of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Number of files, directories and other objects of the layer, deletions included.
    pub objects: usize,
    /// In the order of the stream, then extra files.
    pub mismatches: Vec<Mismatch>,
}

fn owner((user, group): &(u32, u32)) -> String {
    format!("{user}:{group}")
}

/// Compares the stream `blob` of `layer` with the directory `dir`, which must not change meanwhile: types, data, modes, owners,
/// modification times, extended attributes, hard links, deletions. Attributes that layers do not have (overlay's bookkeeping,
/// labels of the host) and holes are ignored.
///
/// # Errors
/// The stream is not that of the layer, as for [`unpack`](super::unpack()). Files in the directory that cannot be read are
/// mismatches.
pub fn verify(blob: impl Read, layer: &Layer, dir: &Path) -> Result<Verification, UnpackError> {
    let mut verifier = Verifier {
        dir,
        expected: HashSet::new(),
        missing: HashSet::new(),
        opaque: HashSet::new(),
        mismatches: Vec::new(),
    };
    read::checked(blob, layer, |plain| {
        read::entries(plain, MAX_ENTRIES, |entry, data| verifier.entry(&entry, data))
    })?;
    verifier.opaque_directories();
    verifier.extra();
    Ok(Verification {
        objects: verifier.expected.len(),
        mismatches: verifier.mismatches,
    })
}

struct Verifier<'a> {
    dir: &'a Path,
    expected: HashSet<LayerPath>,
    /// Missing directories; their content is not reported.
    missing: HashSet<LayerPath>,
    /// Opaque directories.
    opaque: HashSet<LayerPath>,
    mismatches: Vec<Mismatch>,
}

impl Verifier<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), UnpackError> {
        let mut path = entry.path.clone();
        if let Some((parent, name)) = entry.path.split() {
            if name == OPAQUE_MARKER {
                self.opaque.insert(parent);
                return Ok(());
            }
            if let Some(deleted) = name.strip_prefix(WHITEOUT_PREFIX) {
                path = parent.join(deleted);
                if let Some(metadata) = self.find(&path)
                    && !is_whiteout(&metadata)
                {
                    self.mismatch(&path, MismatchKind::Kind);
                }
                return Ok(());
            }
        }
        let Some(metadata) = self.find(&path) else {
            return Ok(());
        };
        if let Kind::HardLink { to } = &entry.kind {
            let same = |first: Metadata| (first.dev(), first.ino()) == (metadata.dev(), metadata.ino());
            if !fs::symlink_metadata(self.at(to)).is_ok_and(same) {
                self.mismatch(&path, MismatchKind::HardLink(to.as_path().to_owned()));
            }
            return Ok(());
        }
        if !is_a(&metadata, &entry.kind) {
            // Its content is missing as well.
            if entry.kind == Kind::Directory {
                self.missing.insert(path.clone());
            }
            self.mismatch(&path, MismatchKind::Kind);
            return Ok(());
        }
        match &entry.kind {
            Kind::File { size } => self.data(&path, *size, metadata.size(), data)?,
            Kind::Symlink { target } => match fs::read_link(self.at(&path)) {
                Ok(found) if found.as_os_str().as_bytes() == target => {}
                Ok(_) => self.mismatch(&path, MismatchKind::Target),
                Err(error) => self.unreadable(&path, &error),
            },
            _ => {}
        }
        self.attributes(entry, &metadata);
        Ok(())
    }

    /// The metadata of what is at `path`; records a mismatch if nothing is.
    fn find(&mut self, path: &LayerPath) -> Option<Metadata> {
        self.expected.insert(path.clone());
        if let Some((parent, _)) = path.split()
            && self.missing.contains(&parent)
        {
            self.missing.insert(path.clone());
            return None;
        }
        match fs::symlink_metadata(self.at(path)) {
            Ok(metadata) => return Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.mismatch(path, MismatchKind::Missing)
            }
            Err(error) => self.unreadable(path, &error),
        }
        self.missing.insert(path.clone());
        None
    }

    fn attributes(&mut self, entry: &Entry, metadata: &Metadata) {
        let path = &entry.path;
        let found = metadata.mode() & 0o7777;
        // A symbolic link has no mode of its own.
        if found != entry.mode && !metadata.is_symlink() {
            let expected = entry.mode;
            self.mismatch(path, MismatchKind::Mode { expected, found });
        }
        let (expected, found) = ((entry.uid, entry.gid), (metadata.uid(), metadata.gid()));
        if found != expected {
            self.mismatch(path, MismatchKind::Owner { expected, found });
        }
        let mtime = Mtime {
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec().try_into().unwrap_or(0),
        };
        if mtime != entry.mtime {
            self.mismatch(path, MismatchKind::Time);
        }
        match content_xattrs(&self.at(path)) {
            Ok(found) if found == entry.xattrs => {}
            Ok(_) => self.mismatch(path, MismatchKind::Xattrs),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn data(
        &mut self,
        path: &LayerPath,
        expected: u64,
        found: u64,
        data: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        if found != expected {
            self.mismatch(path, MismatchKind::Length { expected, found });
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(self.at(path), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(errno) => {
                self.unreadable(path, &errno.into());
                return Ok(());
            }
        };
        let length = BUFFER.min(usize::try_from(expected).unwrap_or(BUFFER));
        let (mut wanted, mut there) = (vec![0; length], vec![0; length]);
        let mut offset = 0;
        while offset < expected {
            let left = usize::try_from(expected - offset).unwrap_or(usize::MAX);
            let count = length.min(left);
            data.read_exact(&mut wanted[..count])
                .map_err(UnpackError::Stream)?;
            if let Err(error) = file.read_exact_at(&mut there[..count], offset) {
                self.unreadable(path, &error);
                return Ok(());
            }
            if wanted[..count] != there[..count] {
                self.mismatch(path, MismatchKind::Bytes);
                return Ok(());
            }
            offset += count as u64;
        }
        Ok(())
    }

    fn opaque_directories(&mut self) {
        let (expected, opaque) = (&self.expected, &self.opaque);
        let mut wrong: Vec<LayerPath> = expected
            .iter()
            .filter(|path| !self.missing.contains(*path))
            .filter(|path| is_opaque(&self.at(path)).is_some_and(|found| found != opaque.contains(*path)))
            .cloned()
            .collect();
        wrong.sort_unstable();
        for path in wrong {
            self.mismatch(&path, MismatchKind::Xattrs);
        }
    }

    /// Records files that the layer does not have.
    fn extra(&mut self) {
        let mut walk = WalkDir::new(self.dir).sort_by_file_name().into_iter();
        while let Some(found) = walk.next() {
            let (path, problem) = match &found {
                Ok(found) => (found.path(), None),
                Err(error) => (error.path().unwrap_or(self.dir), Some(error.to_string())),
            };
            let relative = path.strip_prefix(self.dir).unwrap_or(path).to_owned();
            let bytes = relative.as_os_str().as_bytes();
            let known =
                bytes.is_empty() || LayerPath::parse(bytes).is_ok_and(|path| self.expected.contains(&path));
            let kind = match problem {
                Some(problem) => MismatchKind::Unreadable(problem),
                None if known => continue,
                None => MismatchKind::Extra,
            };
            if found.is_ok_and(|found| found.file_type().is_dir()) {
                walk.skip_current_dir();
            }
            self.mismatches.push(Mismatch { path: relative, kind });
        }
    }

    fn at(&self, path: &LayerPath) -> PathBuf {
        self.dir.join(path.as_path())
    }

    fn unreadable(&mut self, path: &LayerPath, error: &io::Error) {
        self.mismatch(path, MismatchKind::Unreadable(error.to_string()));
    }

    fn mismatch(&mut self, path: &LayerPath, kind: MismatchKind) {
        let path = path.as_path().to_owned();
        self.mismatches.push(Mismatch { path, kind });
    }
}

fn is_a(metadata: &Metadata, kind: &Kind) -> bool {
    let found = metadata.file_type();
    match kind {
        Kind::Directory => found.is_dir(),
        Kind::File { .. } | Kind::HardLink { .. } => found.is_file(),
        Kind::Symlink { .. } => found.is_symlink(),
        Kind::Fifo => found.is_fifo(),
    }
}

/// True for overlayfs's form of a deletion.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// The attributes that a layer has.
fn content_xattrs(path: &Path) -> io::Result<Xattrs> {
    let names = match xattr::list(path) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut content = BTreeMap::new();
    for name in names {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        match xattrs::classify(name.as_bytes(), &value) {
            // Unsupported attributes are mismatches, too.
            Xattr::Content | Xattr::Unsupported => drop(content.insert(name.as_bytes().to_vec(), value)),
            Xattr::Opaque | Xattr::OverlayBookkeeping | Xattr::Host => {}
        }
    }
    Ok(content)
}

/// True for an opaque directory; `None` if it is not a directory.
fn is_opaque(path: &Path) -> Option<bool> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let name = std::ffi::OsStr::from_bytes(xattrs::OVERLAY_OPAQUE);
    is_dir.then(|| {
        xattr::get(path, name)
            .ok()
            .flatten()
            .is_some_and(|value| value == xattrs::OPAQUE_YES)
    })
}

#[cfg(test)]
mod tests;
