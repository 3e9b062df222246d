//! The files of an image archive, in a directory or in a tar archive that may be compressed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use tar::EntryType;
use walkdir::WalkDir;

use super::error::ImageError;
use crate::digest::{Digest, HashingStream};
use crate::sparse::Sparse;

/// The signature of bzip2, which the block size follows.
const BZIP2: [u8; 3] = *b"BZh";
/// RFC 1952, 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The .xz file format, 2.1.1.1.
const XZ: [u8; 6] = *b"\xfd7zXZ\0";
/// RFC 8878, 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// RFC 8878, 3.1.2: the end of a skippable frame's magic number, before which is 0x50 to 0x5f. `pzstd` begins with such frames.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// The files that mark an OCI image layout (OCI image-spec 1.1, image-layout.md).
pub(crate) const LAYOUT: [&str; 2] = ["oci-layout", INDEX];
pub(super) const INDEX: &str = "index.json";
/// Maximum size of a document in bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Maximum size of all documents of an archive in bytes.
const MAX_DOCUMENTS: usize = 64 << 20;
/// Maximum number of links followed to a file.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 1 << 18;

/// All files of an archive, after one pass over it. Of several entries with one name the last counts, as in tar.
#[derive(Debug)]
pub(super) struct Files {
    /// For messages.
    path: PathBuf,
    /// What is read instead, if it can be read only once.
    spooled: Option<File>,
    entries: BTreeMap<PathBuf, Item>,
    /// Bytes of all documents that are held.
    held: usize,
}

#[derive(Debug)]
enum Item {
    File(FileInfo),
    Link(PathBuf),
}

/// A regular file of an archive.
#[derive(Debug)]
pub(super) struct FileInfo {
    /// Its number among all entries.
    pub(super) number: usize,
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) compression: Compression,
    /// The content, if it may be JSON.
    pub(super) text: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Bzip2,
    Gzip,
    Xz,
    Zstd,
}

/// An entry during a pass.
enum Entry<'a> {
    /// A regular file and its size in bytes.
    File(u64, &'a mut dyn Read),
    /// A link and its target in the archive. Docker writes one in place of a layer that occurs twice.
    Link(PathBuf),
}

type Visit<'v> = dyn FnMut(usize, &Path, Entry<'_>) -> io::Result<()> + 'v;

impl Files {
    /// Reads all of `path`, or of `spooled` instead.
    pub(super) fn read(path: &Path, spooled: Option<File>) -> Result<Self, ImageError> {
        let mut files = Self {
            path: path.to_owned(),
            spooled,
            entries: BTreeMap::new(),
            held: 0,
        };
        let from = files.source();
        let walked = walk(&from, &mut |number, name, entry| files.add(number, name, entry));
        match walked {
            Ok(()) => Ok(files),
            Err(error) if files.entries.is_empty() => {
                let why = match error.kind() {
                    // The reader's message quotes the file.
                    io::ErrorKind::Other => "it cannot be read as a tar archive".to_owned(),
                    _ => error.to_string(),
                };
                Err(ImageError::not_an_archive(path, why))
            }
            Err(error) => Err(ImageError::damaged(path, error.to_string())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path to read.
    fn source(&self) -> PathBuf {
        match &self.spooled {
            Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            None => self.path.clone(),
        }
    }

    /// The file `name`, after links.
    pub(super) fn file(&self, name: &Path) -> Option<&FileInfo> {
        let mut item = self.entries.get(&relative(name))?;
        for _ in 0..MAX_LINKS {
            match item {
                Item::File(file) => return Some(file),
                Item::Link(to) => item = self.entries.get(to)?,
            }
        }
        None
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.file(Path::new(name)).is_some()
    }

    pub(super) fn text(&self, name: &str) -> &[u8] {
        let file = self.file(Path::new(name));
        file.and_then(|file| file.text.as_deref()).unwrap_or_default()
    }

    /// The blob `digest`; an error describes why it cannot be used.
    pub(super) fn blob(&self, digest: &Digest) -> Result<&FileInfo, String> {
        match self.file(&blob_path(digest)) {
            None => Err(format!("{digest} is missing")),
            Some(file) if file.digest != *digest => Err(format!(
                "`{}` does not match its digest",
                blob_path(digest).display()
            )),
            Some(file) => Ok(file),
        }
    }

    /// Reads the files with the numbers that `wanted` accepts once more, in the order of the archive.
    pub(super) fn reread(
        &self,
        wanted: impl Fn(usize) -> bool,
        visit: &mut dyn FnMut(usize, u64, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        walk(&self.source(), &mut |number, _, entry| match entry {
            Entry::File(size, content) if wanted(number) => visit(number, size, content),
            _ => Ok(()),
        })
    }

    fn add(&mut self, number: usize, name: &Path, entry: Entry<'_>) -> io::Result<()> {
        let item = match entry {
            Entry::File(size, content) => Item::File(self.examine(number, size, content)?),
            Entry::Link(to) => Item::Link(to),
        };
        self.entries.insert(name.to_owned(), item);
        Ok(())
    }

    fn examine(&mut self, number: usize, size: u64, content: &mut dyn Read) -> io::Result<FileInfo> {
        let mut content = HashingStream::new(content);
        let start = start_of(&mut content)?;
        let mut text = None;
        let is_document = start.first().is_some_and(|first| b"{[ \n\t".contains(first));
        if is_document && size <= MAX_DOCUMENT && self.held < MAX_DOCUMENTS {
            let mut whole = start.clone();
            content.read_to_end(&mut whole)?;
            self.held += whole.len();
            text = Some(whole);
        } else {
            io::copy(
                &mut BufReader::with_capacity(BUFFER, &mut content),
                &mut io::sink(),
            )?;
        }
        let (_, digest, size) = content.finish();
        Ok(FileInfo {
            number,
            size,
            digest,
            compression: Compression::of(&start),
            text,
        })
    }
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        if start.starts_with(&GZIP) {
            Self::Gzip
        } else if start.starts_with(&BZIP2) {
            Self::Bzip2
        } else if start.starts_with(&ZSTD) || is_skippable(start) {
            Self::Zstd
        } else if start.starts_with(&XZ) {
            Self::Xz
        } else {
            Self::None
        }
    }
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, rest @ ..] if rest.starts_with(&ZSTD_SKIPPABLE))
}

/// OCI image-spec 1.1, image-layout.md, "Blobs".
pub(super) fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

/// Calls `visit` with every file and link of `path`: its number, and its path below the root of the archive.
fn walk(path: &Path, visit: &mut Visit<'_>) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        walk_directory(path, visit)
    } else {
        walk_archive(&mut open(path)?, visit)
    }
}

/// Links to regular files count as these: tools that cache blobs write layouts of links.
fn walk_directory(root: &Path, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut number = 0;
    // Whatever else is in the directory is not part of the layout.
    let parts = ["oci-layout", INDEX, "blobs"].map(|part| root.join(part));
    for part in parts.iter().filter(|part| part.exists()) {
        for entry in WalkDir::new(part).follow_links(true).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_bad_link(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            if entry.file_type().is_file() {
                let mut file = File::open(entry.path())?;
                let size = file.metadata()?.len();
                let name = entry.path().strip_prefix(root).unwrap_or(entry.path());
                visit(number, name, Entry::File(size, &mut file))?;
                number += 1;
            }
        }
    }
    Ok(())
}

/// True for a link to nothing or to a directory above it.
fn is_bad_link(error: &walkdir::Error) -> bool {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    error.loop_ancestor().is_some() || error.io_error().is_some_and(is_missing)
}

fn walk_archive(from: &mut dyn Read, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let sparse = Sparse::of(&mut entry)?;
        let name = match sparse.as_ref().and_then(|sparse| sparse.name.as_ref()) {
            Some(name) => relative(name),
            None => relative(&entry.path()?),
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => match sparse {
                Some(sparse) => {
                    let size = sparse.size;
                    visit(number, &name, Entry::File(size, &mut sparse.expand(&mut entry)?))?;
                }
                None => {
                    let size = entry.size();
                    visit(number, &name, Entry::File(size, &mut entry))?;
                }
            },
            kind @ (EntryType::Link | EntryType::Symlink) => {
                let to = entry.link_name()?.unwrap_or_default();
                let to = target(&name, kind, &to);
                visit(number, &name, Entry::Link(to))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name in the archive that a link leads to.
fn target(name: &Path, kind: EntryType, to: &Path) -> PathBuf {
    let mut target = match kind {
        EntryType::Symlink => name.parent().map(Path::to_owned).unwrap_or_default(),
        _ => PathBuf::new(),
    };
    for component in to.components() {
        match component {
            Component::Normal(part) => target.push(part),
            Component::ParentDir => drop(target.pop()),
            Component::RootDir => target.clear(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    target
}

/// The path below the root of the archive: without a leading `./` or `/`.
fn relative(path: &Path) -> PathBuf {
    let is_root = |component: &Component<'_>| matches!(component, Component::CurDir | Component::RootDir);
    path.components().skip_while(is_root).collect()
}

/// Calls `visit` with the names of all entries of the archive `path`, without a leading `./` or `/`.
pub(crate) fn walk_names(path: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<()> {
    let mut archive = tar::Archive::new(open(path)?);
    for entry in archive.entries()? {
        visit(&relative(&entry?.path()?));
    }
    Ok(())
}

/// Opens a file for reading, decompressed.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    decompressed(File::open(path)?)
}

/// Decompresses a stream by its first bytes; media types are often wrong.
pub(super) fn decompressed<'r>(mut from: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let start = start_of(&mut from)?;
    let compression = Compression::of(&start);
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(from));
    decoder(compression, whole)
}

fn decoder<'r>(compression: Compression, whole: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(whole)),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Xz => Box::new(XzDecoder::new_multi_decoder(whole)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(whole)?),
    })
}

/// Enough bytes to recognise a format.
fn start_of(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(XZ.len() as u64).read_to_end(&mut start)?;
    Ok(start)
}
