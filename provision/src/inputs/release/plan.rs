//! What has to be fetched for a bake: the provider file's places and the lock's digests.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::Digest;

use super::super::cache::{Cache, Key, KeyBuilder};
use super::super::images::short_name;
use super::ReleaseError;
use crate::provider::lock::{Lock, PinnedFile};
use crate::provider::{Provider, Published};

/// Changes whenever something else would be made of the same bytes.
const RECIPE: u32 = 1;
/// What lists the images, and is needed on nodes or not.
const KUBEADM: &str = "kubeadm";

/// All that source `release` takes for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inputs) struct Plan {
    /// Debian's name of the architecture.
    pub(super) architecture: String,
    /// By name of the binary.
    pub(super) files: BTreeMap<String, PinnedFile>,
    /// Binaries in images: by name, the image's short name and the path in it.
    pub(super) inside: BTreeMap<String, (String, String)>,
    /// By short name, the full name and the digest.
    pub(super) images: BTreeMap<String, (String, Digest)>,
}

/// The binaries that a bake needs in files, by name.
pub(super) fn wanted(provider: &Provider) -> BTreeSet<&str> {
    let on_nodes = provider.recipe.os.binaries.iter().map(String::as_str);
    on_nodes.chain([KUBEADM]).collect()
}

/// The URLs of what is published in files, by name of the binary; and what is in images.
///
/// # Errors
/// [`ReleaseError::NoPlace`], [`ReleaseError::Url`].
#[expect(clippy::type_complexity, reason = "two maps, taken apart by who calls")]
pub(super) fn places(
    provider: &Provider,
    given: &BTreeSet<String>,
    architecture: &str,
) -> Result<(BTreeMap<String, String>, BTreeMap<String, (String, String)>), ReleaseError> {
    let (mut files, mut inside) = (BTreeMap::new(), BTreeMap::new());
    let wanted = wanted(provider).into_iter();
    for name in wanted.filter(|name| !given.contains(*name)) {
        match provider.recipe.release.get(name) {
            None => {
                return Err(ReleaseError::NoPlace {
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
    Ok((files, inside))
}

impl Plan {
    /// What `provider` needs beside the binaries and images that are `given`, by their names.
    ///
    /// # Errors
    /// [`ReleaseError::NotPinned`], [`ReleaseError::NoPlace`].
    pub(in crate::inputs) fn new(
        provider: &Provider,
        lock: &Lock,
        given: &BTreeSet<String>,
        images_given: &BTreeSet<String>,
    ) -> Result<Self, ReleaseError> {
        let not_pinned = |what: String| ReleaseError::NotPinned {
            provider: provider.name.to_string(),
            what,
        };
        let (urls, inside) = places(provider, given, &lock.architecture)?;
        let release = lock
            .release
            .as_ref()
            .ok_or_else(|| not_pinned("anything".to_owned()))?;
        let files = urls
            .into_iter()
            .map(|(name, url)| match release.files.get(&name) {
                Some(pinned) if pinned.url == url => Ok((name, pinned.clone())),
                _ => Err(not_pinned(format!("`{url}`"))),
            });
        let holds = |image: &String| inside.values().any(|(other, _)| other == image);
        let assembled = |name: &String| {
            let recipe = provider.recipe.images.get(name);
            let mut files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
            images_given.contains(name) || files.any(|binary| given.contains(binary))
        };
        let needed = provider.recipe.images.keys();
        let needed = needed.filter(|name| holds(name) || !assembled(name));
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

    /// Nothing but `images`: by short name, the full name and the digest.
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

    /// Whether nothing is left to be fetched.
    pub(in crate::inputs) fn is_cached(&self, cache: &Cache) -> bool {
        let mut files = self.files.iter().map(|(name, file)| file_key(name, &file.digest));
        let mut images = self.images.values();
        files.all(|key| cache.has(RELEASED, &key))
            && images.all(|(reference, digest)| cache.has(IMAGES, &self.image_key(reference, digest)))
    }

    /// What an image is kept under.
    pub(super) fn image_key(&self, reference: &str, digest: &Digest) -> Key {
        KeyBuilder::new("released image", RECIPE)
            .field("digest", digest.as_str())
            .field("name", reference)
            .field("architecture", &self.architecture)
            .finish()
    }
}

/// The kinds of results.
pub(super) const RELEASED: &str = "released";
pub(super) const IMAGES: &str = "images";

/// What the binary `name` of a file is kept under.
pub(super) fn file_key(name: &str, digest: &Digest) -> Key {
    KeyBuilder::new("released file", RECIPE)
        .field("name", name)
        .field("digest", digest.as_str())
        .finish()
}

/// What a binary of an image is kept under.
pub(super) fn inside_key(image: &str, path: &str) -> Key {
    KeyBuilder::new("file of an image", RECIPE)
        .field("image", image)
        .field("path", path)
        .finish()
}
