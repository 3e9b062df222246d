//! What is in a file of images, and whether all of it is.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::distribution::Reference;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::bundle::{Entry, walk};
use super::error::ImageError;
use super::{docker, oci};
use crate::digest::Digest;

/// Larger files are no descriptions of anything.
const DESCRIPTION: u64 = 4 << 20;
/// How much of such is kept in all.
const DESCRIPTIONS: usize = 64 << 20;

/// The file that names the images, and what is to be in it.
pub(super) type Index = (&'static str, Vec<u8>);

/// A file of images that was found to be whole.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    /// Full names of the images, in the file's order.
    names: Vec<String>,
    index: Index,
    digest: Digest,
}

/// All that is known of the files in an archive after one look.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Sizes by name. Links have none.
    pub(super) sizes: BTreeMap<PathBuf, Option<u64>>,
    /// What may be JSON, by name.
    pub(super) texts: BTreeMap<PathBuf, Vec<u8>>,
    /// Where links lead, by name.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    kept: usize,
    /// The SHA-256 of every file.
    sums: BTreeMap<PathBuf, String>,
    /// Blobs that are not what their names say.
    spoilt: Vec<PathBuf>,
}

impl Archive {
    /// Reads all of `path`: an OCI image layout as a directory or an archive, or what `docker save` writes, as it is or
    /// compressed with gzip, xz or zstd. `name` is for a single image, in the place of the name it has.
    ///
    /// # Errors
    /// It cannot be read, is no image archive, or lacks something. See [`ImageError`].
    pub fn examine(path: &Path, name: Option<&Reference>) -> Result<Self, ImageError> {
        // Before anything is read: what cannot be opened is no matter of its content.
        let kind = path.metadata().map_err(|source| ImageError::Read {
            path: path.to_owned(),
            source,
        })?;
        if !kind.is_file() && !kind.is_dir() {
            return Err(ImageError::NoArchive {
                path: path.to_owned(),
                why: "it is no file or directory, and has to be read more than once".to_owned(),
            });
        }
        let files = Files::of(path)?;
        let (names, index) = if files.texts.contains_key(Path::new(oci::INDEX)) {
            oci::read(path, &files, name)?
        } else if files.texts.contains_key(Path::new(docker::MANIFEST)) {
            docker::read(path, &files, name)?
        } else {
            return Err(ImageError::NoArchive {
                path: path.to_owned(),
                why: format!("it has neither `{}` nor `{}`", oci::INDEX, docker::MANIFEST),
            });
        };
        if let Some(spoilt) = files.spoilt.first() {
            return Err(ImageError::Damaged {
                path: path.to_owned(),
                problem: format!("`{}` does not match its digest", spoilt.display()),
            });
        }
        Ok(Self {
            digest: files.digest(&index),
            path: path.to_owned(),
            names,
            index,
        })
    }

    /// Identifies all that [`Archive::write_to`] writes: the same images under the same names have the same digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Full names of the images.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Writes it as an archive that is not compressed, with the names in its last file.
    ///
    /// # Errors
    /// What reading and writing say.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut archive = Builder::new(to);
        let (index, text) = &self.index;
        walk(&self.path, &mut |path, entry| {
            // Of an archive that is in both forms, only one is passed on.
            if [oci::INDEX, docker::MANIFEST].map(Path::new).contains(&path) {
                return Ok(());
            }
            let mut header = header();
            match entry {
                Entry::File(size, content) => {
                    header.set_size(size);
                    archive.append_data(&mut header, path, content)
                }
                Entry::Link(kind, to) => {
                    header.set_entry_type(kind);
                    header.set_size(0);
                    archive.append_link(&mut header, path, to)
                }
            }
        })?;
        let mut header = header();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, index, text.as_slice())?;
        archive.into_inner()?.flush()
    }
}

fn header() -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header
}

impl Files {
    /// Looks at all files in `path`.
    pub(super) fn of(path: &Path) -> Result<Self, ImageError> {
        let mut files = Self::default();
        let seen = walk(path, &mut |name, entry| files.add(name, entry));
        seen.map_err(|error| {
            let path = path.to_owned();
            if files.sizes.is_empty() {
                // What the reader stumbled over would quote the file.
                let why = match error.kind() {
                    io::ErrorKind::Other => "it cannot be read as a tar archive".to_owned(),
                    _ => error.to_string(),
                };
                ImageError::NoArchive { path, why }
            } else {
                let problem = error.to_string();
                ImageError::Damaged { path, problem }
            }
        })?;
        Ok(files)
    }

    fn add(&mut self, name: &Path, entry: Entry<'_>) -> io::Result<()> {
        let (size, content) = match entry {
            Entry::File(size, content) => (size, content),
            Entry::Link(kind, to) => {
                self.sizes.insert(name.to_owned(), None);
                self.links.insert(name.to_owned(), target(name, kind, &to));
                return Ok(());
            }
        };
        self.sizes.insert(name.to_owned(), Some(size));
        let mut hasher = Sha256::new();
        let mut text = Vec::new();
        let may_be_text = size <= DESCRIPTION && self.kept < DESCRIPTIONS;
        if may_be_text {
            content.read_to_end(&mut text)?;
            hasher.update(&text);
        } else {
            hash(BufReader::with_capacity(1 << 18, content), &mut hasher)?;
        }
        let sum = hex::encode(hasher.finalize());
        if blob_digest(name).is_some_and(|expected| expected != sum) {
            self.spoilt.push(name.to_owned());
        }
        self.sums.insert(name.to_owned(), sum);
        if may_be_text && text.first().is_some_and(|first| b"{[ \n\t".contains(first)) {
            self.kept += text.len();
            self.texts.insert(name.to_owned(), text);
        }
        Ok(())
    }

    fn digest(&self, (name, text): &Index) -> Digest {
        let indexes = [oci::INDEX, docker::MANIFEST].map(Path::new);
        let files = self
            .sums
            .iter()
            .filter(|(name, _)| !indexes.contains(&name.as_path()));
        let lines = files.map(|(name, sum)| format!("{sum} {}\n", name.display()));
        let index = format!("{name}\n{}", String::from_utf8_lossy(text));
        Digest::of(lines.chain([index]).collect::<String>().as_bytes())
    }

    /// The text of the blob `digest`; nothing where it is missing or no text.
    pub(super) fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.texts.get(&blob(digest)?).map(Vec::as_slice)
    }

    /// Whether the blob `digest` is there with `size` bytes.
    pub(super) fn has_blob(&self, digest: &str, size: u64) -> bool {
        blob(digest).is_some_and(|path| self.sizes.get(&path) == Some(&Some(size)))
    }
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
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    target
}

fn hash(mut content: impl BufRead, hasher: &mut Sha256) -> io::Result<()> {
    loop {
        let read = content.fill_buf()?;
        if read.is_empty() {
            return Ok(());
        }
        hasher.update(read);
        let length = read.len();
        content.consume(length);
    }
}

/// The path of a blob (OCI image layout, 'blobs').
pub(super) fn blob(digest: &str) -> Option<PathBuf> {
    let digest: Digest = digest.parse().ok()?;
    Some(Path::new("blobs/sha256").join(digest.hex()))
}

fn blob_digest(name: &Path) -> Option<&str> {
    name.strip_prefix("blobs/sha256").ok()?.to_str()
}
