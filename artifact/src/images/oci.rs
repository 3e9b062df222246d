//! Reads OCI image layouts (OCI image-spec 1.1, image-layout.md).

use serde::de::DeserializeOwned;

use super::docker;
use super::document::{Descriptor, Document, MAX_DEPTH, Platform};
use super::error::ImageError;
use super::files::{Compression, FileInfo, Files, INDEX};
use super::image::{Blob, Image, Manifest};
use super::name::is_full_name;
use crate::config::host_architecture;

/// What a descriptor leads to.
enum Found {
    Image(Box<Image>),
    /// Images for these platforms only.
    OtherPlatforms(Vec<String>),
    /// A signature, an attestation or another artifact.
    NotAnImage,
}

/// The images for this host, each as often as the index lists it. Artifacts beside them are skipped, and so is what is for
/// other platforms, whose blobs may be missing.
pub(super) fn images(files: &Files) -> Result<Vec<Image>, ImageError> {
    let layout = Layout { files };
    let index: Document = serde_json::from_slice(files.text(INDEX)).map_err(|error| {
        ImageError::not_an_archive(files.path(), format!("`{INDEX}` is not valid: {error}"))
    })?;
    let (mut images, mut others) = (Vec::new(), Vec::new());
    for descriptor in &index.manifests {
        let tag = descriptor.name();
        let label = tag.clone().unwrap_or_else(|| descriptor.digest.to_string());
        match layout.find(descriptor, &label, MAX_DEPTH)? {
            Found::Image(mut image) => {
                image.tags = match tag {
                    Some(tag) if is_full_name(&tag) => vec![tag],
                    tag => layout.docker_names(&image).unwrap_or(tag.into_iter().collect()),
                };
                images.push(*image);
            }
            Found::OtherPlatforms(found) => others.push((tag, label, found)),
            Found::NotAnImage => {}
        }
    }
    // One index may list an image once for every platform, all under the same name or under none.
    let is_covered = |tag: &Option<String>| match tag {
        Some(tag) => images.iter().any(|image| image.tags.contains(tag)),
        None => !images.is_empty(),
    };
    if let Some((_, name, found)) = others.into_iter().find(|(tag, ..)| !is_covered(tag)) {
        return Err(ImageError::Architecture {
            name,
            found: found.join(", "),
            wanted: host_architecture(),
        });
    }
    if images.is_empty() {
        return Err(layout.damaged(format!("`{INDEX}` lists no image")));
    }
    Ok(images)
}

struct Layout<'a> {
    files: &'a Files,
}

impl Layout<'_> {
    /// The names that the archive's `manifest.json`, if it has one, gives the image: Docker reads names from there only.
    fn docker_names(&self, image: &Image) -> Option<Vec<String>> {
        let listed = docker::images(self.files).ok()?.into_iter();
        let names = listed.filter(|other| other.config.digest == image.config.digest);
        Some(names.flat_map(|image| image.tags).collect::<Vec<_>>()).filter(|names| !names.is_empty())
    }

    fn damaged(&self, problem: String) -> ImageError {
        ImageError::damaged(self.files.path(), problem)
    }

    /// Follows a descriptor to the image for this host.
    fn find(&self, descriptor: &Descriptor, name: &str, depth: usize) -> Result<Found, ImageError> {
        if descriptor.is_artifact() {
            return Ok(Found::NotAnImage);
        }
        if let Some(platform) = &descriptor.platform
            && platform.rank_on_host().is_none()
        {
            return Ok(Found::OtherPlatforms(vec![platform.to_string()]));
        }
        let file = self.blob(descriptor, name)?;
        let document: Document = self.parse(descriptor, file, name)?;
        if document.is_artifact() {
            return Ok(Found::NotAnImage);
        }
        let media_type = document
            .media_type
            .as_deref()
            .or(descriptor.media_type.as_deref());
        let manifest = Manifest::new(media_type, file.text.clone().unwrap_or_default());
        if let Some(config) = &document.config {
            return self.image(config, &document.layers, manifest, name);
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.damaged(format!("{} of `{name}` is nested too deeply", descriptor.digest)));
        };
        self.find_in_index(&document, manifest, name, depth)
    }

    fn find_in_index(
        &self,
        index: &Document,
        text: Manifest,
        name: &str,
        depth: usize,
    ) -> Result<Found, ImageError> {
        let mut candidates: Vec<&Descriptor> = index.manifests.iter().collect();
        candidates.sort_by_key(|descriptor| descriptor.platform.as_ref().and_then(Platform::rank_on_host));
        let (mut others, mut failed) = (Vec::new(), None);
        for descriptor in candidates {
            match self.find(descriptor, name, depth) {
                Ok(Found::Image(mut image)) => {
                    image.indexes.insert(0, text);
                    return Ok(Found::Image(image));
                }
                Ok(Found::OtherPlatforms(found)) => others.extend(found),
                Ok(Found::NotAnImage) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        others.dedup();
        match failed {
            Some(error) => Err(error),
            None if others.is_empty() => Ok(Found::NotAnImage),
            None => Ok(Found::OtherPlatforms(others)),
        }
    }

    fn image(
        &self,
        config: &Descriptor,
        layers: &[Descriptor],
        manifest: Manifest,
        name: &str,
    ) -> Result<Found, ImageError> {
        let file = self.blob(config, name)?;
        let text = file.text.as_deref().unwrap_or_default();
        // Tools that write no platform have layers of files; signatures have neither.
        let has_files = layers.iter().any(Descriptor::is_file_system_layer);
        match serde_json::from_slice::<Platform>(text) {
            Ok(platform) if platform.is_missing() && has_files => {}
            Ok(platform) if platform.is_unknown() => return Ok(Found::NotAnImage),
            Ok(platform) if platform.rank_on_host().is_none() => {
                return Ok(Found::OtherPlatforms(vec![platform.to_string()]));
            }
            Ok(_) => {}
            // Helm charts and the like have configs of their own.
            Err(_) => return Ok(Found::NotAnImage),
        }
        let layer = |layer: &Descriptor| match self.blob(layer, name) {
            Ok(file) => Ok(Blob::from(file)),
            Err(_) if !layer.urls.is_empty() => Ok(Blob {
                digest: layer.digest.clone(),
                size: layer.size,
                number: None,
                compression: Compression::None,
            }),
            Err(error) => Err(error),
        };
        let layers = layers.iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Found::Image(Box::new(Image {
            tags: Vec::new(),
            manifest,
            indexes: Vec::new(),
            config: Blob::from(file),
            layers,
        })))
    }

    fn blob(&self, descriptor: &Descriptor, name: &str) -> Result<&FileInfo, ImageError> {
        match self.files.blob(&descriptor.digest) {
            Ok(file) if file.size == descriptor.size => Ok(file),
            Ok(file) => {
                let (Descriptor { digest, size, .. }, found) = (descriptor, file.size);
                Err(self.damaged(format!("{digest} of `{name}` has {found} bytes, not {size}")))
            }
            Err(problem) => Err(self.damaged(format!("{problem}, which `{name}` needs"))),
        }
    }

    fn parse<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
        file: &FileInfo,
        name: &str,
    ) -> Result<T, ImageError> {
        serde_json::from_slice(file.text.as_deref().unwrap_or_default())
            .map_err(|error| self.damaged(format!("{} of `{name}` is not valid: {error}", descriptor.digest)))
    }
}
