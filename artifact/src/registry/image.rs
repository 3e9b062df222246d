//! Container images: from a registry into an OCI image layout in a directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::client::Repository;
use super::progress::Progress;
use super::retry::retrying;
use super::sources::{Sources, pass_over};
use super::{Options, RegistryError};
use crate::digest::{Digest, HashingStream};
use crate::reference::Reference;

/// The annotation by which container runtimes call an image that is imported, before all others.
const NAME: &str = "io.containerd.image.name";
/// An index in an index in an index is somebody's joke.
const DEEPEST: usize = 3;
/// More than an image's configuration has, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// What matters of a manifest or an index, in either form (OCI image-spec 1.1, Docker image manifest version 2).
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

/// Pulls the image that `reference` means, for `architecture` (Go's name of it), into the directory `to`: an OCI
/// image layout, in which the image is called `names`. Every byte is checked against its digest. The directory is empty,
/// or what an earlier call for the same image left there: then only what is missing is fetched.
///
/// # Errors
/// What the registry says; and whatever is not as its digest, its length or the specification says.
pub async fn pull_image(
    reference: &Reference,
    names: &[String],
    architecture: &str,
    options: &Options,
    to: &Path,
) -> Result<(), RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, digest) = sources.manifest().await?;
    let image = Pull {
        reference,
        sources,
        blobs: to.join("blobs/sha256"),
    };
    file("make", &image.blobs, std::fs::create_dir_all(&image.blobs))?;
    let top = image.document(&bytes, &digest)?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": names.iter().map(|name| json!({
            "mediaType": top.media_type.as_deref().unwrap_or("application/vnd.oci.image.manifest.v1+json"),
            "digest": digest,
            "size": bytes.len(),
            "annotations": {NAME: name},
        })).collect::<Vec<_>>(),
    });
    let manifest = image.manifest_for(top, architecture).await?;
    let config = manifest.config.as_ref();
    let config = config.ok_or_else(|| image.no_image("it has no configuration"))?;
    if config.size > MAX_CONFIG {
        return Err(RegistryError::TooLarge {
            reference: reference.to_string(),
            what: "the configuration",
            limit: MAX_CONFIG,
        });
    }
    let parts: Vec<&Descriptor> = manifest.layers.iter().chain([config]).collect();
    let total = parts.iter().map(|part| part.size).fold(0, u64::saturating_add);
    let progress = Progress::new(&format!("pull the image `{reference}`"), total);
    for part in parts {
        image.fetch(part, &progress).await?;
    }
    write(&to.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    write(&to.join("index.json"), index.to_string().as_bytes())
}

struct Pull<'a> {
    reference: &'a Reference,
    sources: Sources,
    blobs: PathBuf,
}

impl Pull<'_> {
    fn no_image(&self, why: &str) -> RegistryError {
        RegistryError::NoImage {
            reference: self.reference.to_string(),
            why: why.to_owned(),
        }
    }

    /// Keeps the bytes of a manifest and reads them.
    fn document(&self, bytes: &[u8], digest: &Digest) -> Result<Document, RegistryError> {
        let document = serde_json::from_slice(bytes).map_err(|error| self.no_image(&error.to_string()))?;
        write(&self.blobs.join(digest.hex()), bytes)?;
        Ok(document)
    }

    /// Goes down from an index to the manifest for the architecture.
    async fn manifest_for(
        &self,
        mut document: Document,
        architecture: &str,
    ) -> Result<Document, RegistryError> {
        for _ in 0..DEEPEST {
            if document.config.is_some() {
                return Ok(document);
            }
            let ours = |below: &&Descriptor| {
                let platform = below.platform.as_ref();
                platform.is_none_or(|found| found.architecture == architecture && found.os == "linux")
            };
            let below = document.manifests.iter().find(ours);
            let below = below.ok_or_else(|| self.no_image(&format!("it is not there for {architecture}")))?;
            let (repository, mut others) = self.sources.in_order();
            let mut bytes = repository.find_manifest(below.digest.as_str()).await?;
            while bytes.is_none()
                && let Some(other) = others.next()
            {
                bytes = other.find_manifest(below.digest.as_str()).await?;
            }
            let lacks = || self.no_image(&format!("the registry lacks its part {}", below.digest));
            document = self.document(&bytes.ok_or_else(lacks)?, &below.digest)?;
        }
        Err(self.no_image("it is nested too deeply"))
    }

    /// Gets a blob from the first place that has it.
    async fn fetch(&self, blob: &Descriptor, progress: &Progress) -> Result<(), RegistryError> {
        let path = self.blobs.join(blob.digest.hex());
        if path.exists() {
            progress.skipped(blob.size);
            return Ok(());
        }
        let (mut repository, mut others) = self.sources.in_order();
        loop {
            let fetched = retrying(|| receive(repository, blob, &path)).await;
            let Err(error) = fetched else {
                progress.transferred(blob.size);
                return Ok(());
            };
            let Some(next) = others.next() else {
                return Err(error);
            };
            pass_over(repository, error)?;
            repository = next;
        }
    }
}

async fn receive(repository: &Repository, blob: &Descriptor, path: &Path) -> Result<(), RegistryError> {
    let act = format!("send {}", blob.digest);
    let length = |found| RegistryError::Length {
        registry: repository.registry(),
        what: blob.digest.to_string(),
        found,
        size: blob.size,
    };
    let part = path.with_extension("part");
    // What came before it broke off, in this process or another.
    let kept = std::fs::metadata(&part).map_or(0, |part| part.len());
    let kept = if kept < blob.size { kept } else { 0 };
    let body = repository.blob(&blob.digest, kept, &act).await?;
    if let Some(wrong) = body.length.filter(|length| *length != blob.size - body.start) {
        return Err(length(wrong));
    }
    let mut response = body.response;
    let mut to = file("open", &part, resumed(&part, body.start))?;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| repository.broken(&act, error))?
    {
        file("write", &part, to.write_all(&chunk))?;
        if to.length() > blob.size {
            return Err(length(to.length()));
        }
    }
    let (_, found, size) = to.finish();
    if size < blob.size {
        return Err(RegistryError::Broken {
            registry: repository.registry(),
            act,
            source: io::ErrorKind::UnexpectedEof.into(),
        });
    }
    if found != blob.digest {
        // Or the next try would go on with it.
        file("remove", &part, std::fs::remove_file(&part))?;
        return Err(RegistryError::WrongPart {
            registry: repository.registry(),
            digest: blob.digest.clone(),
            found,
        });
    }
    file("rename", &part, std::fs::rename(&part, path))
}

/// The file with its first `start` bytes, which are hashed already, to write on.
fn resumed(part: &Path, start: u64) -> io::Result<HashingStream<File>> {
    let mut kept = Vec::new();
    if start > 0 {
        File::open(part)?.take(start).read_to_end(&mut kept)?;
    }
    let mut to = HashingStream::new(File::create(part)?);
    to.write_all(&kept)?;
    Ok(to)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    file("write", path, std::fs::write(path, bytes))
}

fn file<T>(act: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, RegistryError> {
    outcome.map_err(|source| RegistryError::File {
        act,
        path: path.to_owned(),
        source,
    })
}
