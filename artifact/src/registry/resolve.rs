//! What a reference means at present.

use super::client::{Purpose, Repository};
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::reference::Reference;

/// Asks the registry for the digest of what `reference` means now; nothing but the manifest is fetched.
///
/// # Errors
/// When nothing is there, or no artifact.
pub async fn resolve(reference: &Reference, options: &Options) -> Result<Digest, RegistryError> {
    let repository = Repository::new(reference, options, Purpose::Pull).await?;
    let (bytes, digest) = repository.manifest().await?;
    Manifest::from_json(&bytes).map_err(|source| RegistryError::Unusable {
        reference: reference.to_string(),
        source,
    })?;
    Ok(digest)
}
