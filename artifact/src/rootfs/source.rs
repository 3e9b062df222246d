//! What was given, found out before anything is made of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::directory;
use super::error::RootFsError;
use super::stream::{self, Form};
use super::writer::Tree;
use crate::digest::{Digest, HashingStream};
use crate::images::{self, Archive, ImageError};

/// Compressed files that are not read here: first bytes, and the tool.
const FOREIGN: [(&[u8], &str); 2] = [(b"BZh", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")];
/// What an image is called that needs no name.
const NAMELESS: &str = "localhost/node-os:latest";

/// A root file system that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFs {
    path: PathBuf,
    kind: Kind,
    digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    /// Plain, or compressed with gzip, xz or zstd.
    Archive,
    /// Paths of its layers in the bundle, the lowest first.
    Image(Vec<PathBuf>),
}

impl RootFs {
    /// Reads all of `path`: a directory, a tar archive as it is or compressed with gzip, xz or zstd, an OCI image layout as a
    /// directory or an archive, or what `docker save` writes. A directory or an archive with the marks of an image is one.
    ///
    /// # Errors
    /// It cannot be read, is none of these, or is not whole. See [`RootFsError`].
    pub fn examine(path: &Path) -> Result<Self, RootFsError> {
        let metadata = path.metadata().map_err(RootFsError::read(path))?;
        let (kind, digest) = if metadata.is_dir() {
            match images::LAYOUT.iter().all(|name| path.join(name).is_file()) {
                true => image(path)?,
                false => (Kind::Directory, look_at(path)?),
            }
        } else if metadata.is_file() {
            foreign(path)?;
            match holds_image(path)? {
                true => image(path)?,
                false => (Kind::Archive, digest_of(path)?),
            }
        } else {
            let why = "it has to be read more than once".to_owned();
            let path = path.to_owned();
            return Err(RootFsError::Unknown { path, why });
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            digest,
        })
    }

    /// Identifies all that [`RootFs::unpack`] makes: of a directory everything in it, of an archive its bytes, of an image
    /// its parts.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it is, in a word: `directory`, `archive` or `image`.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Directory => "directory",
            Kind::Archive => "archive",
            Kind::Image(_) => "image",
        }
    }

    /// Unpacks it into the empty directory `to`. Needs root, for owners.
    ///
    /// # Errors
    /// See [`RootFsError`]; what is in `to` is worthless then.
    pub fn unpack(&self, to: &Path) -> Result<(), RootFsError> {
        let tree = Tree::open(to).map_err(RootFsError::read(to))?;
        let path = &self.path;
        match &self.kind {
            Kind::Directory => {
                let found = directory::walk(path, |entry, content| {
                    let make = RootFsError::make(path, &entry.path);
                    tree.put(entry, content).map_err(make)
                })?;
                self.same(&found)
            }
            Kind::Archive => {
                let file = images::open(path).map_err(RootFsError::read(path))?;
                stream::unpack(file, &tree, Form::Whole, path)?;
                self.same(&digest_of(path)?)
            }
            Kind::Image(layers) => layers.iter().try_for_each(|layer| {
                let mut outcome = None;
                let visited = images::read_layer(path, layer, &mut |content| {
                    outcome = Some(stream::unpack(content, &tree, Form::Layer, path));
                });
                visited.map_err(RootFsError::read(path))?;
                outcome.unwrap_or_else(|| Err(RootFsError::Changed { path: path.clone() }))
            }),
        }
    }

    fn same(&self, found: &Digest) -> Result<(), RootFsError> {
        match *found == self.digest {
            true => Ok(()),
            false => Err(RootFsError::Changed {
                path: self.path.clone(),
            }),
        }
    }
}

fn look_at(dir: &Path) -> Result<Digest, RootFsError> {
    directory::walk(dir, |entry, content| {
        let read = RootFsError::read(&dir.join(&entry.path));
        directory::read(entry, content).map_err(read)
    })
}

fn digest_of(path: &Path) -> Result<Digest, RootFsError> {
    let read = || -> io::Result<Digest> {
        let mut file = HashingStream::new(File::open(path)?);
        io::copy(&mut file, &mut io::sink())?;
        Ok(file.finish().1)
    };
    read().map_err(RootFsError::read(path))
}

fn image(path: &Path) -> Result<(Kind, Digest), RootFsError> {
    let name = NAMELESS.parse().ok();
    match Archive::examine(path, name.as_ref()) {
        Ok(archive) => Ok((Kind::Image(images::layers_of(path)?), archive.digest().clone())),
        Err(ImageError::Several { path, names }) => Err(RootFsError::Several { path, names }),
        Err(error) => Err(error.into()),
    }
}

fn foreign(path: &Path) -> Result<(), RootFsError> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.map_err(RootFsError::read(path))?;
    match FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
        None => Ok(()),
        Some((_, with)) => Err(RootFsError::Compressed {
            path: path.to_owned(),
            with,
        }),
    }
}

/// Whether the archive has the marks of an image; all of it is read, so that what is cut off is found before it is used.
fn holds_image(path: &Path) -> Result<bool, RootFsError> {
    let (mut entries, mut marks) = (0_u64, 0);
    let walked = images::walk_names(path, &mut |name| {
        entries += 1;
        let is_layout = images::LAYOUT.iter().any(|mark| name == Path::new(mark));
        marks += match name == Path::new(images::DOCKER_MANIFEST) {
            true => images::LAYOUT.len(),
            false => usize::from(is_layout),
        };
    });
    match (walked, entries) {
        (Err(source), 1..) => Err(RootFsError::Damaged {
            path: path.to_owned(),
            source,
        }),
        (Err(error), 0) => Err(RootFsError::Unknown {
            path: path.to_owned(),
            why: error.to_string(),
        }),
        (Ok(()), 0) => Err(RootFsError::Unknown {
            path: path.to_owned(),
            why: "it is empty".to_owned(),
        }),
        (Ok(()), _) => Ok(marks >= images::LAYOUT.len()),
    }
}
