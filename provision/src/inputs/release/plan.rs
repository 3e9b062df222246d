//! The list of downloads for a bake: URLs from the provider file, digests from its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use parbake_artifact::http::HttpError;
use parbake_artifact::{Digest, RegistryError};

use super::super::addon_images;
use super::super::cache::{Cache, Key, KeyBuilder};
use super::super::error::Error;
use super::super::images::short_name;
use super::ReleaseError;
use crate::provider::lock::{Lock, PinnedFile};
use crate::provider::{Provider, Published};

/// Increased whenever the same downloads yield another result.
const RECIPE: u32 = 1;
/// Needed to list the images, even if it is not on the nodes.
pub(in crate::inputs) const KUBEADM: &str = "kubeadm";
/// The kinds of cache entries.
pub(super) const RELEASED: &str = "released";
pub(super) const IMAGES: &str = "images";

/// Published files and images that are taken for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inputs) struct Plan {
    /// As Debian names it.
    pub(super) architecture: String,
    /// The file with the digests; `None` while they are looked up.
    pub(super) lock: Option<PathBuf>,
    /// By name of the binary.
    pub(super) files: BTreeMap<String, PinnedFile>,
    pub(super) inside: InsideImages,
    /// By short name, the full name and the digest.
    pub(super) images: PinnedImages,
}

/// Binaries in images: by name, the image's short name and the path in it.
type InsideImages = BTreeMap<String, (String, String)>;
/// By short name, the full name and the digest.
type PinnedImages = BTreeMap<String, (String, Digest)>;

/// The URLs of all files in the provider file's `[release]`, by name of the binary.
pub(in crate::inputs) fn urls(
    provider: &Provider,
    architecture: &str,
) -> Result<BTreeMap<String, String>, ReleaseError> {
    let files = provider.recipe.release.iter();
    let files = files.filter_map(|(name, place)| match place {
        Published::File(template) => Some((name, template)),
        Published::InImage { .. } => None,
    });
    let url = |template: &String| {
        let url = Published::url(template, &provider.recipe, architecture);
        url.map_err(|_| ReleaseError::Url {
            url: template.clone(),
        })
    };
    files
        .map(|(name, template)| Ok((name.clone(), url(template)?)))
        .collect()
}

impl Plan {
    /// The pinned files and images that `provider` needs besides the `given` binaries and images, by their names, and those of
    /// its add-ons; and why anything is not in the plan, in the order of names. Add-ons are built where nothing is pinned.
    ///
    /// # Errors
    /// [`ReleaseError::Url`].
    pub(in crate::inputs) fn new(
        provider: &Provider,
        lock: &Lock,
        given: &BTreeSet<String>,
        given_images: &BTreeSet<String>,
    ) -> Result<(Self, Vec<ReleaseError>), ReleaseError> {
        let mut missing = Vec::new();
        let mut not_pinned = |what: String| {
            missing.push(ReleaseError::NotPinned {
                provider: provider.name.to_string(),
                what,
            });
        };
        let mut plan = Self::of_images(provider, lock, BTreeMap::new());
        let Some(release) = &lock.release else {
            not_pinned("anything".to_owned());
            return Ok((plan, missing));
        };
        let (urls, mut unpublished) = (urls(provider, &lock.architecture)?, Vec::new());
        let on_nodes = provider.recipe.os.binaries.iter().map(String::as_str);
        let needed: BTreeSet<_> = on_nodes.chain([KUBEADM]).collect();
        for name in needed.into_iter().filter(|name| !given.contains(*name)) {
            match (urls.get(name), provider.recipe.release.get(name)) {
                (Some(url), _) => match release.files.get(name) {
                    Some(pinned) if pinned.url == *url => {
                        plan.files.insert(name.to_owned(), pinned.clone());
                    }
                    _ => not_pinned(format!("`{url}`")),
                },
                (None, Some(Published::InImage { image, path })) => {
                    plan.inside.insert(name.to_owned(), (image.clone(), path.clone()));
                }
                (None, _) => unpublished.push(ReleaseError::NoLocation {
                    binary: name.to_owned(),
                }),
            }
        }
        for name in provider.recipe.images.keys() {
            let has_binary = plan.inside.values().any(|(other, _)| other == name);
            if given_images.contains(name) || contains_any(provider, name, given) && !has_binary {
                continue;
            }
            let mut pinned = release.images.iter();
            match pinned.find(|(reference, _)| short_name(reference) == name.as_str()) {
                Some((reference, digest)) => {
                    plan.images
                        .insert(name.clone(), (reference.clone(), digest.clone()));
                }
                None => not_pinned(format!("the image `{name}`")),
            }
        }
        plan.images.extend(addon_images::buildable(provider, lock));
        plan.remove_orphans();
        missing.extend(unpublished);
        Ok((plan, missing))
    }

    /// A plan with `images` only: by short name, the full name and the digest.
    pub(in crate::inputs) fn of_images(provider: &Provider, lock: &Lock, images: PinnedImages) -> Self {
        Self {
            architecture: lock.architecture.clone(),
            lock: Some(Lock::path(provider, &lock.architecture)),
            files: BTreeMap::new(),
            inside: BTreeMap::new(),
            images,
        }
    }

    pub(in crate::inputs) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.images.is_empty()
    }

    /// Removes everything.
    pub(in crate::inputs) fn clear(&mut self) {
        self.retain(|_| false, |_| false);
    }

    /// True if the binary `name` is downloaded, by itself or in an image.
    pub(in crate::inputs) fn has_binary(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.inside.contains_key(name)
    }

    /// True if the image is downloaded.
    pub(in crate::inputs) fn has_image(&self, short_name: &str) -> bool {
        self.images.contains_key(short_name)
    }

    /// Downloads none of these binaries by itself.
    pub(in crate::inputs) fn remove_binaries<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        for name in names {
            self.files.remove(name);
            self.inside.remove(name);
        }
    }

    /// The files that are not in the cache, by name of the binary.
    pub(super) fn missing_files(&self, cache: &Cache) -> impl Iterator<Item = &PinnedFile> {
        let files = self.files.iter();
        let missing = files.filter(|(name, file)| !cache.has(RELEASED, &file_key(name, &file.digest)));
        missing.map(|(_, file)| file)
    }

    /// The full names and digests of the images that are not in the cache.
    pub(super) fn missing_images(&self, cache: &Cache) -> impl Iterator<Item = &(String, Digest)> {
        let images = self.images.values();
        images.filter(|(reference, digest)| !cache.has(IMAGES, &self.image_key(reference, digest)))
    }

    /// Keeps the files and images for which the functions return true.
    pub(super) fn retain(
        &mut self,
        file: impl Fn(&PinnedFile) -> bool,
        image: impl Fn(&(String, Digest)) -> bool,
    ) {
        self.files.retain(|_, pinned| file(pinned));
        self.images.retain(|_, pinned| image(pinned));
        self.remove_orphans();
    }

    /// Adds the lock to an error about `name`, the URL of a file or the full name of an image, if its content is not what is
    /// pinned.
    pub(super) fn explained(&self, (name, error): (String, Error)) -> Error {
        let Some(lock) = self.lock.clone().filter(|_| is_wrong_digest(&error)) else {
            return error;
        };
        let source = Box::new(error);
        ReleaseError::WrongDigest { name, lock, source }.into()
    }

    /// Removes binaries whose images are not downloaded.
    fn remove_orphans(&mut self) {
        self.inside
            .retain(|_, (image, _)| self.images.contains_key(image));
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

/// True if a server sent other content than is pinned.
pub(super) fn is_wrong_digest(error: &Error) -> bool {
    matches!(
        error,
        Error::Release(ReleaseError::Http(HttpError::Digest { .. }) | ReleaseError::WrongDigest { .. })
            | Error::Registry(
                RegistryError::Http(HttpError::Digest { .. }) | RegistryError::WrongManifest { .. }
            )
    )
}

/// True if the image contains any of `binaries`, so that it is not downloaded.
fn contains_any(provider: &Provider, image: &str, binaries: &BTreeSet<String>) -> bool {
    let recipe = provider.recipe.images.get(image);
    let mut files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
    files.any(|binary| binaries.contains(binary))
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
