//! From what is published to binaries and images in the cache.

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
use super::fetch::{Wanted, fetch_all};
use super::plan::{IMAGES, Plan, RELEASED, file_key, inside_key};
use super::{ReleaseError, ReleaseMirrors};
use crate::provider::lock::PinnedFile;

/// The directory of the cache for what is on its way.
const PARTIAL: &str = "partial";
/// The name of the archive in a cache entry.
const ARCHIVE: &str = "image.tar";
/// Files that have the binary in them.
const ARCHIVES: [&str; 2] = [".tar.gz", ".tgz"];

/// Something that is published and was taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Download {
    /// Where it is published, whatever mirror it came from: a URL, or the full name of an image.
    pub name: String,
    /// The digest that it was checked against.
    pub digest: Digest,
}

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::inputs) struct Downloads {
    /// By name.
    pub(in crate::inputs) binaries: BTreeMap<String, Binary>,
    /// By short name.
    pub(in crate::inputs) images: BTreeMap<String, ImageArchive>,
    /// All of it, sorted.
    pub(in crate::inputs) downloads: Vec<Download>,
}

/// Takes everything out of the cache, after fetching what is not there.
///
/// # Errors
/// The first thing that cannot be had, or is not as it was pinned.
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
        // A plan has every image that it takes something out of.
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

/// Only the binary `name`, which is in a file: for who wants to ask it something.
pub(super) fn download_file(
    name: &str,
    file: &PinnedFile,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Binary, Error> {
    let plan = Plan {
        architecture: String::new(),
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
    fn wanted_file(&self, name: &str, file: &PinnedFile) -> Result<Wanted, Error> {
        Ok(Wanted::File {
            name: name.to_owned(),
            from: self.mirrors.file(&file.url)?,
            digest: file.digest.clone(),
        })
    }

    fn wanted_image(&self, reference: &str, digest: &Digest) -> Result<Wanted, Error> {
        Ok(Wanted::Image {
            from: self.mirrors.image(reference, Some(digest))?,
            name: reference.to_owned(),
            architecture: self.plan.architecture.clone(),
            digest: digest.clone(),
        })
    }

    fn fetch_missing(&self) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for (name, file) in &self.plan.files {
            let mut before = self.plan.files.range::<String, _>(..name);
            let comes =
                before.any(|(other, theirs)| theirs.digest == file.digest && self.lacks(other, theirs));
            if self.lacks(name, file) && !comes {
                wanted.push(self.wanted_file(name, file)?);
            }
        }
        for (reference, digest) in self.plan.images.values() {
            if !self.cache.has(IMAGES, &self.plan.image_key(reference, digest)) {
                wanted.push(self.wanted_image(reference, digest)?);
            }
        }
        if wanted.is_empty() || self.cache.is_looking() {
            return Ok(());
        }
        let what = "get what is published";
        let _step = tracing::info_span!("step", what).entered();
        self.fetch(wanted)
    }

    fn lacks(&self, name: &str, file: &PinnedFile) -> bool {
        !self.cache.has(RELEASED, &file_key(name, &file.digest))
    }

    /// Whether something else of the archive `file` is to be taken out of it beside `name`.
    fn is_wanted_again(&self, name: &str, file: &PinnedFile) -> bool {
        let mut others = self.plan.files.iter().filter(|(other, _)| *other != name);
        others.any(|(other, theirs)| theirs.digest == file.digest && self.lacks(other, theirs))
    }

    fn fetch(&self, wanted: Vec<Wanted>) -> Result<(), Error> {
        let dir = self.cache.plain_dir(PARTIAL)?;
        let threads = Runtime::new().map_err(failed("start threads for", &dir))?;
        threads.block_on(fetch_all(wanted, self.options, &dir))
    }

    fn file(&self, name: &str, file: &PinnedFile) -> Result<Binary, Error> {
        let wanted = self.wanted_file(name, file)?;
        let key = file_key(name, &file.digest);
        self.binary(name, &key, &format!("check `{name}`"), |out| {
            let from = wanted.path(&self.cache.plain_dir(PARTIAL)?);
            // It is there already, except where a result was damaged. It is checked in any case.
            self.fetch(vec![wanted])?;
            let to = out.join(name);
            if ARCHIVES.iter().any(|end| file.url.ends_with(end)) {
                unpack(name, &file.url, &from, &to)?;
                if self.is_wanted_again(name, file) {
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
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Binary, Error> {
        let entry = self.cache.entry(RELEASED, key, what, |out| {
            make(out)?;
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
        let wanted = self.wanted_image(reference, digest)?;
        let key = self.plan.image_key(reference, digest);
        let entry = self
            .cache
            .entry(IMAGES, &key, &format!("take the image {short_name}"), |out| {
                let layout = wanted.path(&self.cache.plain_dir(PARTIAL)?);
                self.fetch(vec![wanted])?;
                let taken = take(&layout, &out.join(ARCHIVE));
                // Also when it is damaged: then the next bake fetches it anew.
                fs::remove_dir_all(&layout).map_err(failed("remove", &layout))?;
                taken
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

/// Makes an archive of a layout, all of which is read and checked first.
fn take(layout: &Path, to: &Path) -> Result<(), Error> {
    let archive = Archive::examine(layout, None)?;
    let file = File::create(to).map_err(failed("create", to))?;
    Ok(archive
        .write_to(&mut BufWriter::new(file))
        .map_err(failed("write", to))?)
}

/// Takes the file `name` out of a `.tar.gz`.
fn unpack(name: &str, url: &str, from: &Path, to: &Path) -> Result<(), Error> {
    let found = || -> io::Result<bool> {
        let packed = BufReader::with_capacity(1 << 18, File::open(from)?);
        let mut archive = tar::Archive::new(MultiGzDecoder::new(packed));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let is_it = entry.path()?.file_name().is_some_and(|file| file == name);
            if is_it && entry.header().entry_type().is_file() {
                io::copy(&mut entry, &mut File::create(to)?)?;
                return Ok(true);
            }
        }
        Ok(false)
    };
    match found().map_err(failed("unpack", from))? {
        true => Ok(()),
        false => Err(ReleaseError::NoMember {
            url: url.to_owned(),
            name: name.to_owned(),
        }
        .into()),
    }
}
