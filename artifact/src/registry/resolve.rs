//! What a reference means at present.

use super::sources::Sources;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::reference::Reference;

/// Asks the registry, or the mirrors that the host has for it, for the digest of what `reference` means now; nothing but
/// the manifest is fetched.
///
/// # Errors
/// When nothing is there, or no artifact.
pub async fn resolve(reference: &Reference, options: &Options) -> Result<Digest, RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, digest) = sources.manifest().await?;
    Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    Ok(digest)
}
