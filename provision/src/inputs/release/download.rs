//! From published files and images to binaries and images in the cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use parbake_artifact::Digest;
use parbake_artifact::images::{Archive, extract_files};
use parbake_artifact::registry::Options;
use parbake_machine::fs::files::failed;
use tokio::runtime::Runtime;

use super::super::cache::{Key, Locked};
use super::super::error::Error;
use super::super::{Binary, ImageArchive};
use super::fetch::{Item, fetch_all};
use super::plan::{IMAGES, Plan, RELEASED, file_key, inside_key};
use super::{ReleaseError, ReleaseMirrors};
use crate::provider::lock::PinnedFile;

/// The directory of the cache for incomplete downloads.
const PARTIAL: &str = "partial";
/// The name of the archive in the cache entry of an image.
const ARCHIVE: &str = "image.tar";
/// The suffixes of archives that contain the binary.
const ARCHIVE_SUFFIXES: [&str; 2] = [".tar.gz", ".tgz"];

/// A published file or image that was used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Download {
    /// Where it is published, even if it came from a mirror: a URL, or the full name of an image.
    pub name: String,
    /// The digest that it was verified against.
    pub digest: Digest,
}

/// Binaries and images in the cache.
#[derive(Debug, Default)]
pub(in crate::inputs) struct Downloads {
    /// By name.
    pub(in crate::inputs) binaries: BTreeMap<String, Binary>,
    /// By short name.
    pub(in crate::inputs) images: BTreeMap<String, ImageArchive>,
    /// Sorted.
    pub(in crate::inputs) downloads: Vec<Download>,
}

/// Returns everything from the cache, after downloading what is missing.
///
/// # Errors
/// The first failed download, or wrong digest.
pub(in crate::inputs) fn download(
    plan: &Plan,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Downloads, Error> {
    let downloader = Downloader {
        plan,
        mirrors,
        options,
        cache,
    };
    downloader.fetch_missing()?;
    let mut binaries = BTreeMap::new();
    for (name, file) in &plan.files {
        binaries.insert(name.clone(), downloader.file(name, file)?);
    }
    let mut images = BTreeMap::new();
    for (name, (reference, digest)) in &plan.images {
        images.insert(name.clone(), downloader.image(name, reference, digest)?);
    }
    for (name, (image, path)) in &plan.inside {
        // A plan includes every image that it takes a binary from.
        if let Some(image) = images.get(image) {
            binaries.insert(name.clone(), downloader.inside(name, image, path)?);
        }
    }
    let files = plan.files.values().map(|file| (&file.url, &file.digest));
    let all = files.chain(plan.images.values().map(|(name, digest)| (name, digest)));
    let all = all.map(|(name, digest)| Download {
        name: name.clone(),
        digest: digest.clone(),
    });
    let mut downloads: Vec<_> = all.collect();
    downloads.sort();
    Ok(Downloads {
        binaries,
        images,
        downloads,
    })
}

/// Returns the binary `name` alone, which is published in `file`.
pub(super) fn download_file(
    name: &str,
    file: &PinnedFile,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Binary, Error> {
    let plan = Plan {
        architecture: String::new(),
        lock: None,
        files: [(name.to_owned(), file.clone())].into(),
        inside: BTreeMap::new(),
        images: BTreeMap::new(),
    };
    let downloader = Downloader {
        plan: &plan,
        mirrors,
        options,
        cache,
    };
    downloader.file(name, file)
}

struct Downloader<'a> {
    plan: &'a Plan,
    mirrors: &'a ReleaseMirrors,
    options: &'a Options,
    cache: &'a Locked,
}

impl Downloader<'_> {
    fn file_item(&self, name: &str, file: &PinnedFile) -> Result<Item, Error> {
        Ok(Item::File {
            name: name.to_owned(),
            published: file.url.clone(),
            url: self.mirrors.file(&file.url)?,
            digest: file.digest.clone(),
        })
    }

    fn image_item(&self, reference: &str, digest: &Digest) -> Result<Item, Error> {
        Ok(Item::Image {
            from: self.mirrors.image(reference, Some(digest))?,
            name: reference.to_owned(),
            architecture: self.plan.architecture.clone(),
            digest: digest.clone(),
        })
    }

    fn fetch_missing(&self) -> Result<(), Error> {
        let mut items = Vec::new();
        for (name, file) in &self.plan.files {
            // Several binaries may be in one archive.
            let mut before = self.plan.files.range::<String, _>(..name);
            let is_listed =
                before.any(|(other, theirs)| theirs.digest == file.digest && self.lacks(other, theirs));
            if self.lacks(name, file) && !is_listed {
                items.push(self.file_item(name, file)?);
            }
        }
        for (reference, digest) in self.plan.images.values() {
            if !self.cache.has(IMAGES, &self.plan.image_key(reference, digest)) {
                items.push(self.image_item(reference, digest)?);
            }
        }
        if items.is_empty() || self.cache.is_preview() {
            return Ok(());
        }
        let what = "get what is published";
        let _step = tracing::info_span!("step", what).entered();
        self.fetch(items)
    }

    fn lacks(&self, name: &str, file: &PinnedFile) -> bool {
        !self.cache.has(RELEASED, &file_key(name, &file.digest))
    }

    /// True if the archive `file` contains a missing binary besides `name`.
    fn is_needed_again(&self, name: &str, file: &PinnedFile) -> bool {
        let mut others = self.plan.files.iter().filter(|(other, _)| *other != name);
        others.any(|(other, theirs)| theirs.digest == file.digest && self.lacks(other, theirs))
    }

    fn fetch(&self, items: Vec<Item>) -> Result<(), Error> {
        let dir = self.cache.plain_dir(PARTIAL)?;
        let runtime = Runtime::new().map_err(failed("start threads for", &dir))?;
        let fetched = runtime.block_on(fetch_all(items, self.options, &dir));
        fetched.map_err(|failure| self.plan.explained(*failure))
    }

    fn file(&self, name: &str, file: &PinnedFile) -> Result<Binary, Error> {
        let item = self.file_item(name, file)?;
        let key = file_key(name, &file.digest);
        self.binary(name, &key, &format!("check `{name}`"), |out| {
            let from = item.path(&self.cache.plain_dir(PARTIAL)?);
            // Verifies it, and downloads it again if the cache entry was damaged.
            self.fetch(vec![item])?;
            let to = out.join(name);
            if ARCHIVE_SUFFIXES.iter().any(|suffix| file.url.ends_with(suffix)) {
                unpack(name, &file.url, &from, &to)?;
                if self.is_needed_again(name, file) {
                    return Ok(());
                }
                Ok(fs::remove_file(&from).map_err(failed("remove", &from))?)
            } else {
                Ok(fs::rename(&from, &to).map_err(failed("move", &from))?)
            }
        })
    }

    fn inside(&self, name: &str, image: &ImageArchive, path: &str) -> Result<Binary, Error> {
        let key = inside_key(&image.key, path);
        let what = format!("take `{name}` out of the image {}", image.short_name);
        self.binary(name, &key, &what, |out| {
            Ok(extract_files(
                &image.path,
                &[(path.to_owned(), out.join(name))].into(),
            )?)
        })
    }

    fn binary(
        &self,
        name: &str,
        key: &Key,
        what: &str,
        create: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Binary, Error> {
        let entry = self.cache.entry(RELEASED, key, what, |out| {
            create(out)?;
            let path = out.join(name);
            let mode = fs::Permissions::from_mode(0o755);
            Ok(fs::set_permissions(&path, mode).map_err(failed("make executable", &path))?)
        })?;
        Ok(Binary {
            path: entry.path.join(name),
            sha256: entry.sha256(name)?,
        })
    }

    fn image(&self, short_name: &str, reference: &str, digest: &Digest) -> Result<ImageArchive, Error> {
        let item = self.image_item(reference, digest)?;
        let key = self.plan.image_key(reference, digest);
        let what = format!("take the image {short_name}");
        let entry = self.cache.entry(IMAGES, &key, &what, |out| {
            let layout = item.path(&self.cache.plain_dir(PARTIAL)?);
            self.fetch(vec![item])?;
            let archived = archive(&layout, &out.join(ARCHIVE));
            // Also if it is damaged, so that the next bake downloads it again.
            fs::remove_dir_all(&layout).map_err(failed("remove", &layout))?;
            archived
        })?;
        Ok(ImageArchive {
            short_name: short_name.to_owned(),
            reference: reference.to_owned(),
            names: vec![reference.to_owned()],
            path: entry.path.join(ARCHIVE),
            key: key.to_string(),
        })
    }
}

/// Verifies a layout and writes it to an archive.
fn archive(layout: &Path, to: &Path) -> Result<(), Error> {
    let archive = Archive::examine(layout, None)?;
    let file = File::create(to).map_err(failed("create", to))?;
    Ok(archive
        .write_to(&mut BufWriter::new(file))
        .map_err(failed("write", to))?)
}

/// Extracts the file `name` from a `.tar.gz`.
fn unpack(name: &str, url: &str, from: &Path, to: &Path) -> Result<(), Error> {
    let extract = || -> io::Result<bool> {
        let packed = BufReader::with_capacity(1 << 18, File::open(from)?);
        let mut archive = tar::Archive::new(MultiGzDecoder::new(packed));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let is_match = entry.path()?.file_name().is_some_and(|file| file == name);
            if is_match && entry.header().entry_type().is_file() {
                io::copy(&mut entry, &mut File::create(to)?)?;
                return Ok(true);
            }
        }
        Ok(false)
    };
    match extract().map_err(failed("unpack", from))? {
        true => Ok(()),
        false => Err(ReleaseError::NotInArchive {
            url: url.to_owned(),
            name: name.to_owned(),
        }
        .into()),
    }
}
