//! Walks a directory in the order of names.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::error::RootFsError;
use super::{Entry, Kind, is_device_path};
use crate::digest::Digest;
use crate::layer::may_unpack;

/// Calls `visit` with every entry of `dir` and its content. Returns the digest of all of them.
pub(super) fn walk(
    dir: &Path,
    mut visit: impl FnMut(&Entry, &mut dyn Read) -> Result<(), RootFsError>,
) -> Result<Digest, RootFsError> {
    let device = fs::metadata(dir).map_err(RootFsError::read(dir))?.dev();
    let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
    let mut all = Sha256::new();
    for found in WalkDir::new(dir).sort_by_file_name() {
        let found = found.map_err(|error| {
            let path = error.path().unwrap_or(dir).to_owned();
            RootFsError::read(&path)(error.into())
        })?;
        let (at, path) = (
            found.path(),
            found.path().strip_prefix(dir).unwrap_or(found.path()),
        );
        let metadata = fs::symlink_metadata(at).map_err(RootFsError::read(at))?;
        if metadata.dev() != device {
            return Err(RootFsError::refused(
                dir,
                path,
                "is on another file system than the rest; unmount it",
            ));
        }
        let kind = metadata.file_type();
        let mut first = None;
        if metadata.is_file() && metadata.nlink() > 1 {
            let known = first_names
                .entry(metadata.ino())
                .or_insert_with(|| path.to_owned());
            first = (known != path).then(|| known.clone());
        }
        let kind = match (first, kind) {
            (Some(to), _) => Kind::HardLink(to),
            (None, kind) if kind.is_dir() => Kind::Directory,
            (None, kind) if kind.is_file() => Kind::File,
            (None, kind) if kind.is_symlink() => {
                Kind::Symlink(fs::read_link(at).map_err(RootFsError::read(at))?)
            }
            (None, kind) if kind.is_fifo() => Kind::Fifo,
            // Sockets end with their program.
            (None, kind) if kind.is_socket() => continue,
            _ if is_device_path(path) => continue,
            _ => {
                let reason = "is a device; those of a node are created when it starts";
                return Err(RootFsError::refused(dir, path, reason));
            }
        };
        let entry = Entry {
            xattrs: match kind {
                Kind::File | Kind::Directory => xattrs(at).map_err(RootFsError::read(at))?,
                _ => BTreeMap::new(),
            },
            path: path.to_owned(),
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        };
        let mut content = Content(None, Sha256::new());
        if entry.kind == Kind::File {
            content.0 = Some(File::open(at).map_err(RootFsError::read(at))?);
        }
        visit(&entry, &mut content)?;
        hash(&entry, &content.1.finalize(), &mut all);
    }
    Ok(Digest::from_hasher(all))
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match xattr::list(path) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut found = BTreeMap::new();
    for name in names.filter(|name| may_unpack(name.as_bytes())) {
        if let Some(value) = xattr::get(path, &name)? {
            found.insert(name.as_bytes().to_owned(), value);
        }
    }
    Ok(found)
}

/// Hashes an entry. Each part is preceded by its length, so that different trees have different digests.
fn hash(entry: &Entry, content: &[u8], all: &mut Sha256) {
    let (kind, link): (&[u8], &Path) = match &entry.kind {
        Kind::Directory => (b"directory", Path::new("")),
        Kind::File => (b"file", Path::new("")),
        Kind::Symlink(to) => (b"symlink", to),
        Kind::HardLink(to) => (b"link", to),
        Kind::Fifo => (b"fifo", Path::new("")),
    };
    let numbers = format!("{:o} {} {}", entry.mode, entry.uid, entry.gid);
    let fixed = [
        entry.path.as_os_str().as_bytes(),
        kind,
        link.as_os_str().as_bytes(),
        numbers.as_bytes(),
        content,
    ];
    let xattrs = entry
        .xattrs
        .iter()
        .flat_map(|(name, value)| [&name[..], &value[..]]);
    let count = (entry.xattrs.len() as u64).to_le_bytes();
    all.update(count);
    for part in fixed.into_iter().chain(xattrs) {
        all.update((part.len() as u64).to_le_bytes());
        all.update(part);
    }
}

/// A file's content and its hash; empty without a file.
struct Content(Option<File>, Sha256);

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &mut self.0 else {
            return Ok(0);
        };
        let read = file.read(buffer)?;
        self.1.update(&buffer[..read]);
        Ok(read)
    }
}
