//! Files that lie on web servers beside registries, by the same certificate authorities and credentials; and whether a
//! registry has an image at all.

use std::time::Duration;

use oci_client::secrets::RegistryAuth;

use super::connection::{authorities, http};
use super::credentials::Credentials;
use super::sources::Sources;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::reference::Reference;

/// An HTTP client that trusts whom the options say, is as patient, and waits `connect` for somebody to answer.
///
/// # Errors
/// [`RegistryError::CaFile`], [`RegistryError::Client`].
pub fn file_client(options: &Options, connect: Duration) -> Result<reqwest::Client, RegistryError> {
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = authorities(options)?;
    let client = http(authorities.as_deref(), false, options.timeout, connect);
    client.map_err(|error| RegistryError::Client(error.into()))
}

/// User and password for the web server `host` (`HOST[:PORT]`), from the files that have those for registries.
///
/// # Errors
/// [`RegistryError::Credentials`] for a file that cannot be used.
pub fn credential(host: &str) -> Result<Option<(String, String)>, RegistryError> {
    // Credentials are filed by registry; a host that cannot be one has none.
    let Ok(reference) = format!("{host}/files").parse::<Reference>() else {
        return Ok(None);
    };
    Ok(match Credentials::find(&reference)?.auth {
        RegistryAuth::Basic(user, password) => Some((user, password)),
        _ => None,
    })
}

/// The digest of what `reference` means now, whatever it is: an image, an index of images, an artifact.
///
/// # Errors
/// When nothing is there, or the registry does not let it be read.
pub async fn manifest_digest(reference: &Reference, options: &Options) -> Result<Digest, RegistryError> {
    let (_, digest) = Sources::new(reference, options).await?.manifest().await?;
    Ok(digest)
}

/// Whether the registry, or a mirror that the host has for it, shows `reference`; each is asked once.
///
/// # Errors
/// Why the last one does not.
pub async fn check_exists(reference: &Reference, options: &Options) -> Result<(), RegistryError> {
    let sources = Sources::new(reference, options).await?;
    let (first, others) = sources.in_order();
    let mut found = first.try_manifest().await;
    for other in others {
        if found.is_ok() {
            break;
        }
        found = other.try_manifest().await;
    }
    found.map(drop)
}
