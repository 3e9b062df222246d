//! The list of downloads for a bake: URLs from the provider file, digests from its lock.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::Digest;

use super::super::cache::{Cache, Key, KeyBuilder};
use super::super::images::short_name;
use super::ReleaseError;
use crate::provider::lock::{Lock, PinnedFile};
use crate::provider::{Provider, Published};

/// Increased whenever the same downloads yield another result.
const RECIPE: u32 = 1;
/// Needed to list the images, even if it is not on the nodes.
pub(super) const KUBEADM: &str = "kubeadm";
/// The kinds of cache entries.
pub(super) const RELEASED: &str = "released";
pub(super) const IMAGES: &str = "images";

/// Everything that source `release` takes for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inputs) struct Plan {
    /// As Debian names it.
    pub(super) architecture: String,
    /// By name of the binary.
    pub(super) files: BTreeMap<String, PinnedFile>,
    pub(super) inside: InsideImages,
    /// By short name, the full name and the digest.
    pub(super) images: BTreeMap<String, (String, Digest)>,
}

/// Binaries in images: by name, the image's short name and the path in it.
type InsideImages = BTreeMap<String, (String, String)>;

/// Where the binaries of a provider are published.
pub(super) struct Locations {
    /// URLs, by name of the binary.
    pub(super) files: BTreeMap<String, String>,
    inside: InsideImages,
}

impl Locations {
    /// The locations of all binaries that a bake needs, except the `given` ones.
    pub(super) fn new(
        provider: &Provider,
        given: &BTreeSet<String>,
        architecture: &str,
    ) -> Result<Self, ReleaseError> {
        let (mut files, mut inside) = (BTreeMap::new(), BTreeMap::new());
        let on_nodes = provider.recipe.os.binaries.iter().map(String::as_str);
        let needed: BTreeSet<_> = on_nodes.chain([KUBEADM]).collect();
        for name in needed.into_iter().filter(|name| !given.contains(*name)) {
            match provider.recipe.release.get(name) {
                None => {
                    return Err(ReleaseError::NoLocation {
                        binary: name.to_owned(),
                    });
                }
                Some(Published::File(template)) => {
                    let url = Published::url(template, &provider.recipe, architecture);
                    let url = url.map_err(|_| ReleaseError::Url {
                        url: template.clone(),
                    })?;
                    files.insert(name.to_owned(), url);
                }
                Some(Published::InImage { image, path }) => {
                    inside.insert(name.to_owned(), (image.clone(), path.clone()));
                }
            }
        }
        Ok(Self { files, inside })
    }
}

impl Plan {
    /// Everything that `provider` needs besides the `given` binaries and images, by their names.
    ///
    /// # Errors
    /// [`ReleaseError::NotPinned`], [`ReleaseError::NoLocation`], [`ReleaseError::Url`].
    pub(in crate::inputs) fn new(
        provider: &Provider,
        lock: &Lock,
        given: &BTreeSet<String>,
        given_images: &BTreeSet<String>,
    ) -> Result<Self, ReleaseError> {
        let not_pinned = |what: String| ReleaseError::NotPinned {
            provider: provider.name.to_string(),
            what,
        };
        let Locations { files, inside } = Locations::new(provider, given, &lock.architecture)?;
        let release = lock
            .release
            .as_ref()
            .ok_or_else(|| not_pinned("anything".to_owned()))?;
        let files = files
            .into_iter()
            .map(|(name, url)| match release.files.get(&name) {
                Some(pinned) if pinned.url == url => Ok((name, pinned.clone())),
                _ => Err(not_pinned(format!("`{url}`"))),
            });
        let has_binary = |image: &String| inside.values().any(|(other, _)| other == image);
        let is_assembled = |name: &String| {
            let recipe = provider.recipe.images.get(name);
            let mut files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
            given_images.contains(name) || files.any(|binary| given.contains(binary))
        };
        let needed = provider.recipe.images.keys();
        let needed = needed.filter(|name| has_binary(name) || !is_assembled(name));
        let images = needed.map(|name| {
            let mut pinned = release.images.iter();
            match pinned.find(|(reference, _)| short_name(reference) == name.as_str()) {
                Some((reference, digest)) => Ok((name.clone(), (reference.clone(), digest.clone()))),
                None => Err(not_pinned(format!("the image `{name}`"))),
            }
        });
        Ok(Self {
            architecture: lock.architecture.clone(),
            files: files.collect::<Result<_, _>>()?,
            images: images.collect::<Result<_, _>>()?,
            inside,
        })
    }

    /// A plan with `images` only: by short name, the full name and the digest.
    pub(in crate::inputs) fn of_images(
        architecture: String,
        images: BTreeMap<String, (String, Digest)>,
    ) -> Self {
        Self {
            architecture,
            files: BTreeMap::new(),
            inside: BTreeMap::new(),
            images,
        }
    }

    /// True if nothing has to be downloaded.
    pub(in crate::inputs) fn is_cached(&self, cache: &Cache) -> bool {
        let mut files = self.files.iter().map(|(name, file)| file_key(name, &file.digest));
        let mut images = self.images.values();
        files.all(|key| cache.has(RELEASED, &key))
            && images.all(|(reference, digest)| cache.has(IMAGES, &self.image_key(reference, digest)))
    }

    /// The cache key of an image.
    pub(super) fn image_key(&self, reference: &str, digest: &Digest) -> Key {
        KeyBuilder::new("released image", RECIPE)
            .field("digest", digest.as_str())
            .field("name", reference)
            .field("architecture", &self.architecture)
            .finish()
    }
}

/// The cache key of the binary `name` from a file.
pub(super) fn file_key(name: &str, digest: &Digest) -> Key {
    KeyBuilder::new("released file", RECIPE)
        .field("name", name)
        .field("digest", digest.as_str())
        .finish()
}

/// The cache key of a binary from an image.
pub(super) fn inside_key(image: &str, path: &str) -> Key {
    KeyBuilder::new("file of an image", RECIPE)
        .field("image", image)
        .field("path", path)
        .finish()
}
