//! Finds out what a root file system is stored in, before anything is unpacked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::directory;
use super::error::RootFsError;
use super::stream::{self, Form};
use super::writer::Tree;
use crate::digest::{Digest, HashingStream};
use crate::images::{self, Archive, ImageError};

/// Compression formats that are not supported: first bytes, and the tool.
const UNSUPPORTED: [(&[u8], &str); 1] = [(b"\x04\x22\x4d\x18", "lz4")];

/// A root file system that can be read.
#[derive(Debug)]
pub struct RootFs {
    path: PathBuf,
    source: Source,
    digest: Digest,
}

#[derive(Debug)]
enum Source {
    Directory,
    /// Plain, or compressed with gzip, xz, zstd or bzip2.
    TarArchive,
    Image(Box<Archive>),
}

impl RootFs {
    /// Reads all of `path`: a directory, a tar archive, an OCI image layout in a directory or an archive, or the output of
    /// `docker save`; archives may be compressed with gzip, xz, zstd or bzip2. A directory or archive that looks like an image is
    /// one.
    ///
    /// # Errors
    /// See [`RootFsError`].
    pub fn examine(path: &Path) -> Result<Self, RootFsError> {
        let metadata = path.metadata().map_err(RootFsError::read(path))?;
        let (source, digest) = if metadata.is_dir() {
            match images::LAYOUT.iter().all(|name| path.join(name).is_file()) {
                true => image(path)?,
                false => (Source::Directory, digest_of_directory(path)?),
            }
        } else if metadata.is_file() {
            check_compression(path)?;
            match holds_image(path)? {
                true => image(path)?,
                false => (Source::TarArchive, digest_of_file(path)?),
            }
        } else {
            return Err(RootFsError::Unknown {
                path: path.to_owned(),
                why: "it has to be read twice, which only files and directories can".to_owned(),
            });
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            digest,
        })
    }

    /// Identifies what [`RootFs::unpack`] makes: the digest of a directory's tree, of an archive's bytes, or of an image's
    /// parts.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// `directory`, `archive` or `image`.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Directory => "directory",
            Source::TarArchive => "archive",
            Source::Image(_) => "image",
        }
    }

    /// Unpacks the root file system into the empty directory `to`. Needs root, for owners.
    ///
    /// # Errors
    /// See [`RootFsError`]; what is in `to` must not be used then.
    pub fn unpack(&self, to: &Path) -> Result<(), RootFsError> {
        let tree = Tree::open(to).map_err(RootFsError::read(to))?;
        let path = &self.path;
        match &self.source {
            Source::Directory => {
                let found = directory::walk(path, |entry, content| {
                    let make = RootFsError::make(path, &entry.path);
                    tree.put(entry, content).map_err(make)
                })?;
                self.check_unchanged(&found)
            }
            Source::TarArchive => {
                let file = images::open(path).map_err(RootFsError::read(path))?;
                stream::unpack(file, &tree, Form::Whole, path)?;
                self.check_unchanged(&digest_of_file(path)?)
            }
            Source::Image(archive) => {
                (0..archive.layer_count()).try_for_each(|layer| unpack_layer(path, archive, layer, &tree))
            }
        }
    }

    fn check_unchanged(&self, found: &Digest) -> Result<(), RootFsError> {
        match *found == self.digest {
            true => Ok(()),
            false => Err(RootFsError::Changed {
                path: self.path.clone(),
            }),
        }
    }
}

fn unpack_layer(path: &Path, archive: &Archive, layer: usize, tree: &Tree) -> Result<(), RootFsError> {
    let mut outcome = None;
    let read = archive.read_layers(|other| other == layer, &mut |_, content| {
        outcome = Some(stream::unpack(content, tree, Form::Layer, path));
        Ok(())
    });
    read.map_err(RootFsError::read(path))?;
    outcome.unwrap_or_else(|| {
        Err(RootFsError::Changed {
            path: path.to_owned(),
        })
    })
}

fn digest_of_directory(dir: &Path) -> Result<Digest, RootFsError> {
    directory::walk(dir, |entry, content| {
        let read = RootFsError::read(&dir.join(&entry.path));
        io::copy(content, &mut io::sink()).map(drop).map_err(read)
    })
}

fn digest_of_file(path: &Path) -> Result<Digest, RootFsError> {
    let read = || -> io::Result<Digest> {
        let mut file = HashingStream::new(File::open(path)?);
        io::copy(&mut file, &mut io::sink())?;
        Ok(file.finish().1)
    };
    read().map_err(RootFsError::read(path))
}

fn image(path: &Path) -> Result<(Source, Digest), RootFsError> {
    match Archive::examine_unnamed(path) {
        Ok(archive) => {
            let digest = archive.digest().clone();
            Ok((Source::Image(Box::new(archive)), digest))
        }
        Err(ImageError::Several { path, names }) => Err(RootFsError::Several { path, names }),
        Err(error) => Err(error.into()),
    }
}

fn check_compression(path: &Path) -> Result<(), RootFsError> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.map_err(RootFsError::read(path))?;
    match UNSUPPORTED.iter().find(|(magic, _)| start.starts_with(magic)) {
        None => Ok(()),
        Some((_, tool)) => Err(RootFsError::Compressed {
            path: path.to_owned(),
            tool,
        }),
    }
}

/// True if the archive looks like an image. All of it is read, so that a cut-off archive is noticed before it is used.
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
    let unknown = |why: String| RootFsError::Unknown {
        path: path.to_owned(),
        why,
    };
    match (walked, entries) {
        (Err(source), 1..) => Err(RootFsError::Damaged {
            path: path.to_owned(),
            source,
        }),
        (Err(error), 0) => Err(unknown(error.to_string())),
        (Ok(()), 0) => Err(unknown("it is empty".to_owned())),
        (Ok(()), _) => Ok(marks >= images::LAYOUT.len()),
    }
}
