//! Image archives: read in full, and written as an OCI image layout of nothing but the images for this host.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::error::ImageError;
use super::files::{Files, INDEX, decompressed};
use super::image::{Blob, Image, Manifest};
use super::layout::{self, Layout};
use super::name::{ImageName, is_full_name};
use super::{docker, oci};
use crate::digest::Digest;

/// An image archive that was read and found complete.
#[derive(Debug)]
pub struct Archive {
    files: Files,
    images: Vec<Image>,
    names: Vec<String>,
    layout: Layout,
    digest: Digest,
}

/// A name, and the manifest or index that gets it.
struct Named {
    name: String,
    target: Manifest,
    /// Indexes and manifests below the target.
    below: Vec<Manifest>,
}

impl Archive {
    /// Reads all of `path`: an OCI image layout in a directory or an archive, or the output of `docker save`, plain or
    /// compressed with gzip, xz, zstd or bzip2, in a file or a pipe. `name` replaces the names of the only image.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn examine(path: &Path, name: Option<&ImageName>) -> Result<Self, ImageError> {
        let files = read(path)?;
        let images = images(&files)?;
        let named = names(path, &images, name)?;
        Ok(Self::new(files, images, named))
    }

    /// Like [`Archive::examine`] for a single image whose name does not matter.
    pub(crate) fn examine_unnamed(path: &Path) -> Result<Self, ImageError> {
        let files = read(path)?;
        let images = images(&files)?;
        single(path, &images)?;
        Ok(Self::new(files, images, Vec::new()))
    }

    fn new(files: Files, images: Vec<Image>, named: Vec<Named>) -> Self {
        let mut layout = Layout::default();
        let aliases = aliases(&images, &named);
        for Named { name, target, below } in named.iter().chain(&aliases) {
            layout.name(target.descriptor(), name);
            for Manifest { digest, text, .. } in below.iter().chain([target]) {
                layout.blobs.insert(digest.clone(), text.clone());
            }
        }
        let parts = images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config]));
        let parts: String = parts.map(|part| format!("{}\n", part.digest)).collect();
        let index = String::from_utf8_lossy(&layout.index()).into_owned();
        Self {
            digest: Digest::of(format!("{parts}{index}").as_bytes()),
            names: named.into_iter().map(|named| named.name).collect(),
            files,
            images,
            layout,
        }
    }

    /// Identifies what [`Archive::write_to`] writes: equal images with equal names have equal digests.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Full names of the images.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Writes an OCI image layout of the images as an uncompressed tar archive. The index, which names the images, is its
    /// last file, so that a cut-off stream imports nothing.
    ///
    /// # Errors
    /// Reading the archive again, or writing.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        layout::append(&mut archive, layout::MARKER_TEXT, layout::MARKER)?;
        let blobs: BTreeMap<usize, &Digest> = self
            .images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config]))
            .filter_map(|blob| Some((blob.number?, &blob.digest)))
            .collect();
        self.files.reread(
            |number| blobs.contains_key(&number),
            &mut |number, size, content| {
                let name = layout::blob_name(blobs[&number]);
                layout::append_stream(&mut archive, &name, size, content)
            },
        )?;
        for (name, text) in self.layout.blob_files() {
            layout::append(&mut archive, text, &name)?;
        }
        layout::append(&mut archive, &self.layout.index(), INDEX)?;
        archive.into_inner()?.flush()
    }

    /// Number of layers of the first image.
    pub(crate) fn layer_count(&self) -> usize {
        self.layers().len()
    }

    /// The layers of the first image, bottom first.
    fn layers(&self) -> &[Blob] {
        self.images
            .first()
            .map(|image| image.layers.as_slice())
            .unwrap_or_default()
    }

    /// Calls `visit` with each layer of the first image that `wanted` accepts, by number, and its decompressed content, in
    /// the order of the archive.
    ///
    /// # Errors
    /// Reading the archive, or `visit`.
    pub(crate) fn read_layers(
        &self,
        wanted: impl Fn(usize) -> bool,
        visit: &mut dyn FnMut(usize, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, layer) in self
            .layers()
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
        {
            if let Some(number) = layer.number {
                layers.entry(number).or_default().push(index);
            }
        }
        self.files.reread(
            |number| layers.contains_key(&number),
            &mut |number, _, content| {
                // An identical layer further up changes what is between them; it is applied last.
                let index = layers[&number].last().copied().unwrap_or_default();
                visit(index, &mut decompressed(content)?)
            },
        )
    }
}

fn read(path: &Path) -> Result<Files, ImageError> {
    let failed = |source| ImageError::Read {
        path: path.to_owned(),
        source,
    };
    let kind = path.metadata().map_err(failed)?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Files::read(path, Some(spool(path).map_err(failed)?));
    }
    if !kind.is_file() && !kind.is_dir() {
        let why = "it is not a regular file, a directory or a pipe";
        return Err(ImageError::not_an_archive(path, why));
    }
    Files::read(path, None)
}

/// Copies a stream into a file without a name, since archives are read twice.
fn spool(path: &Path) -> io::Result<File> {
    let dir = env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    let mut spooled = tempfile::tempfile_in(dir.unwrap_or_else(|| "/var/tmp".into()))?;
    io::copy(&mut File::open(path)?, &mut spooled)?;
    Ok(spooled)
}

fn images(files: &Files) -> Result<Vec<Image>, ImageError> {
    if files.contains(INDEX) {
        oci::images(files)
    } else if files.contains(docker::MANIFEST) {
        docker::images(files)
    } else {
        let why = format!("it has neither `{INDEX}` nor `{}`", docker::MANIFEST);
        Err(ImageError::not_an_archive(files.path(), why))
    }
}

/// An error unless all of `images` are one.
fn single(path: &Path, images: &[Image]) -> Result<(), ImageError> {
    let mut digests: Vec<&Digest> = images.iter().map(|image| &image.manifest.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    match digests.len() {
        1 => Ok(()),
        _ => Err(ImageError::Several {
            path: path.to_owned(),
            names: images.iter().flat_map(labels).collect(),
        }),
    }
}

/// What to call an image in a message.
fn labels(image: &Image) -> Vec<String> {
    match image.tags.is_empty() {
        true => vec![image.manifest.digest.to_string()],
        false => image.tags.clone(),
    }
}

fn names(path: &Path, images: &[Image], name: Option<&ImageName>) -> Result<Vec<Named>, ImageError> {
    if let Some(name) = name {
        single(path, images)?;
        return images
            .first()
            .map_or(Ok(Vec::new()), |image| named(path, image, name));
    }
    let (mut all, mut unnamed): (Vec<Named>, Vec<String>) = (Vec::new(), Vec::new());
    for image in images {
        for label in labels(image) {
            // A bare tag would be a name on Docker Hub.
            let is_full = image.tags.contains(&label) && is_full_name(&label);
            match label.parse::<ImageName>().ok().filter(|_| is_full) {
                Some(name) => all.extend(named(path, image, &name)?),
                None => unnamed.push(format!("`{label}`")),
            }
        }
    }
    if !unnamed.is_empty() {
        return Err(ImageError::Unnamed {
            path: path.to_owned(),
            tags: unnamed,
            total: images.len(),
        });
    }
    let mut known = BTreeSet::new();
    all.retain(|named| known.insert(named.name.clone()));
    Ok(all)
}

/// The names under which runtimes find an image that pods call `name`: with a tag and a digest there are two.
fn named(path: &Path, image: &Image, name: &ImageName) -> Result<Vec<Named>, ImageError> {
    let plain = |name: String| Named {
        name,
        target: image
            .corrected_manifest()
            .unwrap_or_else(|| image.manifest.clone()),
        below: Vec::new(),
    };
    let Some(digest) = name.digest() else {
        return Ok(vec![plain(name.whole())]);
    };
    let mut names: Vec<Named> = name.tagged().map(plain).into_iter().collect();
    let chain = image.chain();
    let target = chain
        .iter()
        .position(|manifest| manifest.digest.as_str() == digest);
    match target {
        // CRI-O insists on the very document that the digest is of, even if it is an index.
        Some(position) => names.push(Named {
            name: name.pinned_to(&chain[position].digest),
            target: chain[position].clone(),
            below: chain[position + 1..].iter().copied().cloned().collect(),
        }),
        None if names.is_empty() => {
            return Err(ImageError::WrongDigest {
                path: path.to_owned(),
                name: name.whole(),
                found: image.manifest.digest.to_string(),
            });
        }
        None => tracing::warn!(
            "the image `{}` has the digest {}; it is loaded as `{}` only",
            name.whole(),
            image.manifest.digest,
            names[0].name
        ),
    }
    Ok(names)
}

/// Further names: pods may also call an image by its digest or by that of its index, which containerd looks up as names.
/// All lead to the manifest: containerd does not compare the two, and refuses an index of which the archive lacks other
/// platforms. CRI-O and Docker know an image's digests by themselves.
fn aliases(images: &[Image], named: &[Named]) -> Vec<Named> {
    let mut known: BTreeSet<String> = named.iter().map(|named| named.name.clone()).collect();
    let mut aliases = Vec::new();
    for Named { name, target, .. } in named {
        let Ok(name) = name.parse::<ImageName>() else {
            continue;
        };
        let original = images.iter().find(|image| image.manifest.digest == target.digest);
        // An index does not lead to a corrected manifest.
        let chain = original.map_or_else(|| vec![target], Image::chain);
        let all = chain.iter().map(|document| Named {
            name: name.pinned_to(&document.digest),
            target: target.clone(),
            below: Vec::new(),
        });
        aliases.extend(all.filter(|alias| known.insert(alias.name.clone())));
    }
    aliases
}
