//! Pulling a container image into a directory with an OCI image layout.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::Progress;
use super::repository::{RemoteBlob, Repository};
use super::sources::Sources;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::http::{HttpError, PartialFile, RangeSource};
use crate::images::{CONTAINERD_NAME, Descriptor, Document, MANIFEST_MEDIA_TYPE, MAX_DEPTH};
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// Limit for the configuration of an image, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

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
    let top = image.keep(&bytes, &digest)?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": names.iter().map(|name| json!({
            "mediaType": top.media_type.as_deref().unwrap_or(MANIFEST_MEDIA_TYPE),
            "digest": digest,
            "size": bytes.len(),
            "annotations": {CONTAINERD_NAME: name},
        })).collect::<Vec<_>>(),
    });
    let manifest = image.manifest_for(top, architecture).await?;
    let config = manifest.config.as_ref();
    let config = config.ok_or_else(|| unusable(reference, "it has no configuration"))?;
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

/// Checks that the image `reference` can be pulled for `architecture`: that the registry, or a mirror that the host has for it,
/// sends its manifests and its configuration, which may be on another host. Nothing is tried twice.
///
/// # Errors
/// That of the registry itself.
pub async fn check_image(
    reference: &Reference,
    architecture: &str,
    options: &Options,
) -> Result<(), RegistryError> {
    let sources = Sources::new(reference, options).await?;
    let (first, others) = sources.in_order();
    let mut found = check_in(first, architecture).await;
    for other in others {
        if found.is_ok() {
            break;
        }
        found = check_in(other, architecture).await;
    }
    found
}

async fn check_in(repository: &Repository, architecture: &str) -> Result<(), RegistryError> {
    let reference = &repository.reference;
    let (bytes, _) = repository.try_manifest().await?;
    let mut document = parse(&bytes, reference)?;
    for _ in 0..MAX_DEPTH {
        if let Some(config) = &document.config {
            let remote = RemoteBlob {
                repository,
                digest: &config.digest,
                what: config.digest.as_str(),
            };
            return Ok(remote.open(0).await.map(drop)?);
        }
        let entry = select(&document, architecture, reference)?;
        let bytes = repository.try_find_manifest(entry.digest.as_str()).await?;
        document = parse(&bytes.ok_or_else(|| lacks(entry, reference))?, reference)?;
    }
    Err(nested_too_deeply(reference))
}

fn parse(bytes: &[u8], reference: &Reference) -> Result<Document, RegistryError> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| unusable(reference, &error.to_string()))?;
    if document.schema_version == 1 {
        let problem =
            "it has Docker's old format, schema 1; push it again with a current version of the tool";
        return Err(unusable(reference, problem));
    }
    Ok(document)
}

/// The entry of an index that suits Linux on `architecture` best. One without a platform may.
fn select<'a>(
    index: &'a Document,
    architecture: &str,
    reference: &Reference,
) -> Result<&'a Descriptor, RegistryError> {
    let rank = |entry: &&Descriptor| match &entry.platform {
        Some(platform) => platform.rank(architecture),
        None => Some(u8::MAX),
    };
    let images = index.manifests.iter().filter(|entry| !entry.is_artifact());
    let suitable = images.filter(|entry| rank(entry).is_some());
    let best = suitable.min_by_key(rank);
    best.ok_or_else(|| unusable(reference, &format!("there is none for {architecture}")))
}

fn unusable(reference: &Reference, problem: &str) -> RegistryError {
    RegistryError::UnusableImage {
        reference: reference.to_string(),
        problem: problem.to_owned(),
    }
}

fn lacks(entry: &Descriptor, reference: &Reference) -> RegistryError {
    unusable(
        reference,
        &format!("the registry lacks its manifest {}", entry.digest),
    )
}

fn nested_too_deeply(reference: &Reference) -> RegistryError {
    unusable(reference, "its indexes are nested too deeply")
}

struct ImagePull<'a> {
    reference: &'a Reference,
    sources: Sources,
    blobs: PathBuf,
}

impl ImagePull<'_> {
    /// Parses the bytes of a manifest or index, and stores them.
    fn keep(&self, bytes: &[u8], digest: &Digest) -> Result<Document, RegistryError> {
        let document = parse(bytes, self.reference)?;
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
            let entry = select(&document, architecture, self.reference)?;
            let (repository, mut others) = self.sources.in_order();
            let mut bytes = repository.find_manifest(entry.digest.as_str()).await?;
            while bytes.is_none()
                && let Some(other) = others.next()
            {
                bytes = other.find_manifest(entry.digest.as_str()).await?;
            }
            let bytes = bytes.ok_or_else(|| lacks(entry, self.reference))?;
            document = self.keep(&bytes, &entry.digest)?;
        }
        Err(nested_too_deeply(self.reference))
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
