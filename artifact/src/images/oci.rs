//! Archives with an OCI image layout (OCI image specification, 'Image Layout Specification').

use std::path::{Path, PathBuf};

use oci_spec::distribution::Reference;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::archive::{Files, Index, blob};
use super::error::ImageError;

/// The file that names the images.
pub(super) const INDEX: &str = "index.json";
/// What containerd calls an imported image by, before all else.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// OCI image specification, 'Pre-Defined Annotation Keys'. Mostly a mere tag, which is no name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An index in an index in an index is somebody's joke.
const DEEPEST: usize = 3;

/// What matters of an index or a manifest, whichever it is.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
    /// Where else the content can be had: then it need not be here.
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    annotations: Map<String, Value>,
}

/// What a program runs on: of a descriptor, or of an image's configuration.
#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
}

/// Names of the images, and the index that says them.
///
/// # Errors
/// See [`ImageError`].
pub(super) fn read(
    path: &Path,
    files: &Files,
    name: Option<&Reference>,
) -> Result<(Vec<String>, Index), ImageError> {
    let text = files.texts.get(Path::new(INDEX)).map(Vec::as_slice);
    let look = Look { path, files };
    let no_index = |why: serde_json::Error| ImageError::NoArchive {
        path: path.to_owned(),
        why: format!("its `{INDEX}` makes no sense: {why}"),
    };
    let text = text.unwrap_or_default();
    let index: Document = serde_json::from_slice(text).map_err(no_index)?;
    let mut value: Value = serde_json::from_slice(text).map_err(no_index)?;
    if index.manifests.is_empty() {
        return Err(look.damaged(format!("its `{INDEX}` lists no image")));
    }
    let names = look.names(&index, name)?;
    for (descriptor, name) in index.manifests.iter().zip(&names) {
        look.check(descriptor, name, DEEPEST)?;
    }
    let descriptors = value.get_mut("manifests").and_then(Value::as_array_mut);
    for (descriptor, name) in descriptors.into_iter().flatten().zip(&names) {
        let annotations = descriptor.as_object_mut().map(|fields| {
            let annotations = fields
                .entry("annotations")
                .or_insert_with(|| Value::Object(Map::new()));
            annotations.as_object_mut()
        });
        if let Some(Some(annotations)) = annotations {
            // Tools with containers/image know an image by the other one (containers-transports(5), `oci-archive`).
            for key in [CONTAINERD_NAME, REF_NAME] {
                annotations.insert(key.to_owned(), Value::String(name.clone()));
            }
        }
    }
    Ok((names, (INDEX, value.to_string().into_bytes())))
}

/// Paths of the layers of the first image in an image layout, the lowest first.
///
/// # Errors
/// See [`ImageError`].
pub(super) fn layers(path: &Path, files: &Files) -> Result<Vec<PathBuf>, ImageError> {
    let look = Look { path, files };
    let text = files.texts.get(Path::new(INDEX)).map(Vec::as_slice);
    let index: Document = serde_json::from_slice(text.unwrap_or_default())
        .map_err(|why| look.damaged(format!("its `{INDEX}` makes no sense: {why}")))?;
    let Some(first) = index.manifests.first() else {
        return Err(look.damaged(format!("its `{INDEX}` lists no image")));
    };
    let layers = look.layers(first, &first.digest, DEEPEST)?;
    Ok(layers.iter().filter_map(|digest| blob(digest)).collect())
}

struct Look<'a> {
    path: &'a Path,
    files: &'a Files,
}

impl Look<'_> {
    fn damaged(&self, problem: String) -> ImageError {
        ImageError::Damaged {
            path: self.path.to_owned(),
            problem,
        }
    }

    fn names(&self, index: &Document, name: Option<&Reference>) -> Result<Vec<String>, ImageError> {
        let given = |descriptor: &Descriptor| {
            let text = |key: &str| descriptor.annotations.get(key)?.as_str().map(str::to_owned);
            text(CONTAINERD_NAME).or_else(|| text(REF_NAME).filter(|name| name.contains(['/', ':'])))
        };
        let names: Vec<Option<String>> = index.manifests.iter().map(given).collect();
        chosen(self.path, names, name)
    }

    /// Follows a descriptor to its end: everything that the nodes need is there.
    fn check(&self, descriptor: &Descriptor, name: &str, depth: usize) -> Result<(), ImageError> {
        let digest = &descriptor.digest;
        let document = self.document(descriptor, name)?;
        if let Some(config) = &document.config {
            self.check_architecture(config, name)?;
            let mut parts = document.layers.iter().chain([config]);
            let missing =
                parts.find(|part| part.urls.is_empty() && !self.files.has_blob(&part.digest, part.size));
            return match missing {
                Some(part) => Err(self.damaged(format!("`{name}` lacks {}", part.digest))),
                None => Ok(()),
            };
        }
        // One image for several architectures; archives often hold that of one.
        let ours = |below: &&Descriptor| {
            let platform = below.platform.as_ref();
            platform.is_none_or(|platform| platform.architecture == architecture())
        };
        let Some(below) = document.manifests.iter().find(ours) else {
            let mut found: Vec<&str> = document
                .manifests
                .iter()
                .filter_map(|below| Some(below.platform.as_ref()?.architecture.as_str()))
                .collect();
            found.dedup();
            return Err(ImageError::Architecture {
                name: name.to_owned(),
                found: found.join(", "),
                wanted: architecture(),
            });
        };
        match depth.checked_sub(1) {
            Some(depth) => self.check(below, name, depth),
            None => Err(self.damaged(format!("{digest} of `{name}` is nested too deeply"))),
        }
    }

    /// The layers of the image for this host, the lowest first.
    fn layers(&self, descriptor: &Descriptor, name: &str, depth: usize) -> Result<Vec<String>, ImageError> {
        let document = self.document(descriptor, name)?;
        if document.config.is_some() {
            return Ok(document.layers.into_iter().map(|layer| layer.digest).collect());
        }
        let ours = |below: &&Descriptor| {
            let platform = below.platform.as_ref();
            platform.is_none_or(|platform| platform.architecture == architecture())
        };
        match (document.manifests.iter().find(ours), depth.checked_sub(1)) {
            (Some(below), Some(depth)) => self.layers(below, name, depth),
            _ => Err(self.damaged(format!("`{name}` leads to no image for {}", architecture()))),
        }
    }

    fn document(&self, descriptor: &Descriptor, name: &str) -> Result<Document, ImageError> {
        let Descriptor { digest, size, .. } = descriptor;
        let text = self
            .files
            .blob(digest)
            .filter(|_| self.files.has_blob(digest, *size));
        let text = text.ok_or_else(|| self.damaged(format!("`{name}` lacks {digest}")))?;
        serde_json::from_slice(text)
            .map_err(|error| self.damaged(format!("{digest} of `{name}` makes no sense: {error}")))
    }

    fn check_architecture(&self, config: &Descriptor, name: &str) -> Result<(), ImageError> {
        let text = self.files.blob(&config.digest).unwrap_or_default();
        check_architecture(text, name)
    }
}

/// The names that images get: the one that was given for the only one, or their own, made complete.
///
/// # Errors
/// See [`ImageError`].
pub(super) fn chosen(
    path: &Path,
    names: Vec<Option<String>>,
    name: Option<&Reference>,
) -> Result<Vec<String>, ImageError> {
    let path = || path.to_owned();
    if let Some(name) = name {
        return match names.len() {
            1 => Ok(vec![name.whole()]),
            _ => {
                let names = names
                    .into_iter()
                    .map(|name| name.unwrap_or_else(|| "-".to_owned()));
                let names = names.collect();
                Err(ImageError::Several { path: path(), names })
            }
        };
    }
    let complete = |name: Option<String>| {
        let name = name.ok_or_else(|| ImageError::NoName { path: path() })?;
        match name.parse::<Reference>() {
            Ok(reference) => Ok(reference.whole()),
            Err(_) => Err(ImageError::BadName { path: path(), name }),
        }
    };
    names.into_iter().map(complete).collect()
}

/// Whether an image with the configuration `text` can run on this host; what says nothing can.
///
/// # Errors
/// [`ImageError::Architecture`].
pub(super) fn check_architecture(text: &[u8], name: &str) -> Result<(), ImageError> {
    let platform: Option<Platform> = serde_json::from_slice(text).ok();
    match platform {
        Some(platform) if platform.architecture != architecture() => Err(ImageError::Architecture {
            name: name.to_owned(),
            found: platform.architecture,
            wanted: architecture(),
        }),
        _ => Ok(()),
    }
}

/// Go's name of this host's architecture (OCI image specification, 'Image Index', `platform.architecture`).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
