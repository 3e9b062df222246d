//! Pulling a container image into a directory with an OCI image layout.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::progress::Progress;
use super::sources::Sources;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::http::{HttpError, PartialFile};
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// The annotation from which container runtimes take the name of an imported image.
const NAME: &str = "io.containerd.image.name";
/// Maximum nesting of indexes.
const MAX_DEPTH: usize = 3;
/// Limit for the configuration of an image, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest or an index (OCI image-spec 1.1, Docker image manifest version 2).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Pulls the image `reference` for `architecture` (as Go names it) into the directory `to`, an OCI image layout in which the
/// image has all of `names`. Every byte is checked against its digest. The directory is empty, or holds what an interrupted
/// call for the same image left, which is continued.
///
/// # Errors
/// Failed requests; [`RegistryError::UnusableImage`]; [`HttpError::Digest`] and [`HttpError::Length`] for wrong
/// content.
pub async fn pull_image(
    reference: &Reference,
    names: &[String],
    architecture: &str,
    options: &Options,
    to: &Path,
) -> Result<(), RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, digest) = sources.manifest().await?;
    let image = ImagePull {
        reference,
        sources,
        blobs: to.join("blobs/sha256"),
    };
    fs::create_dir_all(&image.blobs).map_err(HttpError::file("create", &image.blobs))?;
    let top = image.document(&bytes, &digest)?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": names.iter().map(|name| json!({
            "mediaType": top.media_type.as_deref().unwrap_or(OCI_MANIFEST),
            "digest": digest,
            "size": bytes.len(),
            "annotations": {NAME: name},
        })).collect::<Vec<_>>(),
    });
    let manifest = image.manifest_for(top, architecture).await?;
    let config = manifest.config.as_ref();
    let config = config.ok_or_else(|| image.unusable("it has no configuration"))?;
    if config.size > MAX_CONFIG {
        return Err(RegistryError::TooLarge {
            reference: reference.to_string(),
            what: "the configuration",
            limit: MAX_CONFIG,
        });
    }
    let blobs: Vec<&Descriptor> = manifest.layers.iter().chain([config]).collect();
    let total = blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
    let progress = Progress::new(&format!("pull the image `{reference}`"), total);
    for blob in blobs {
        image.fetch(blob, &progress).await?;
    }
    write(&to.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write(&to.join("index.json"), index.to_string().as_bytes())
}

struct ImagePull<'a> {
    reference: &'a Reference,
    sources: Sources,
    blobs: PathBuf,
}

impl ImagePull<'_> {
    fn unusable(&self, problem: &str) -> RegistryError {
        RegistryError::UnusableImage {
            reference: self.reference.to_string(),
            problem: problem.to_owned(),
        }
    }

    /// Parses the bytes of a manifest or index, and stores them.
    fn document(&self, bytes: &[u8], digest: &Digest) -> Result<Document, RegistryError> {
        let document = serde_json::from_slice(bytes).map_err(|error| self.unusable(&error.to_string()))?;
        write(&self.blobs.join(digest.hex()), bytes)?;
        Ok(document)
    }

    /// Descends from an index to the manifest for the architecture.
    async fn manifest_for(
        &self,
        mut document: Document,
        architecture: &str,
    ) -> Result<Document, RegistryError> {
        for _ in 0..MAX_DEPTH {
            if document.config.is_some() {
                return Ok(document);
            }
            let matches = |entry: &&Descriptor| {
                let platform = entry.platform.as_ref();
                platform.is_none_or(|found| found.architecture == architecture && found.os == "linux")
            };
            let entry = document.manifests.iter().find(matches);
            let entry = entry.ok_or_else(|| self.unusable(&format!("there is none for {architecture}")))?;
            let (repository, mut others) = self.sources.in_order();
            let mut bytes = repository.find_manifest(entry.digest.as_str()).await?;
            while bytes.is_none()
                && let Some(other) = others.next()
            {
                bytes = other.find_manifest(entry.digest.as_str()).await?;
            }
            let missing = || self.unusable(&format!("the registry lacks its manifest {}", entry.digest));
            document = self.document(&bytes.ok_or_else(missing)?, &entry.digest)?;
        }
        Err(self.unusable("its indexes are nested too deeply"))
    }

    async fn fetch(&self, blob: &Descriptor, progress: &Progress) -> Result<(), RegistryError> {
        let path = self.blobs.join(blob.digest.hex());
        if path.exists() {
            progress.skipped(blob.size);
            return Ok(());
        }
        let part = path.with_extension("part");
        let mut file = PartialFile::open(&part, blob.size).map_err(HttpError::file("open", &part))?;
        progress.skipped(file.length());
        let blob = BlobRef {
            digest: blob.digest.clone(),
            size: blob.size,
        };
        let what = blob.digest.as_str();
        let file = self.sources.download(&mut file, &blob, what, progress).await?;
        Ok(file.rename(&path).map_err(HttpError::file("create", &path))?)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    Ok(fs::write(path, bytes).map_err(HttpError::file("write", path))?)
}
