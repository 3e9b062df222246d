//! Finding out what a reference refers to, without downloading it.

use super::sources::Sources;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::reference::Reference;

/// The digest of the artifact that `reference` refers to at present, in the registry or in a mirror that the host has for it.
///
/// # Errors
/// [`RegistryError::UnusableArtifact`] for anything but an artifact.
pub async fn resolve(reference: &Reference, options: &Options) -> Result<Digest, RegistryError> {
    let (bytes, digest) = Sources::new(reference, options).await?.manifest().await?;
    Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    Ok(digest)
}

/// The digest of the manifest that `reference` refers to at present: of an image, an index of images or an artifact.
///
/// # Errors
/// As for [`pull`](super::pull()).
pub async fn manifest_digest(reference: &Reference, options: &Options) -> Result<Digest, RegistryError> {
    let (_, digest) = Sources::new(reference, options).await?.manifest().await?;
    Ok(digest)
}
