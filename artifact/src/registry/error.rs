//! Failures of transfers between the store and a registry.

use std::error::Error;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::http::HttpError;
use crate::manifest::ManifestError;
use crate::policy::PolicyError;
use crate::reference::{Reference, ReferenceError};
use crate::store::StoreError;
use crate::tag::{Tag, TagError};

/// Why a registry, or what it holds, could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's policy rejects the artifact.
    #[error(transparent)]
    Policy(#[from] Box<PolicyError>),
    /// The host's configuration of registries (containers-registries.conf(5)).
    #[error("cannot use the registries configuration `{}`", .path.display())]
    Config {
        path: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the registries configuration names the unusable location `{location}` for `{reference}`")]
    Location {
        location: String,
        reference: Box<Reference>,
        source: ReferenceError,
    },
    #[error("`{reference}` is blocked by `{prefix}` in the registries configuration of this host")]
    Blocked {
        prefix: String,
        reference: Box<Reference>,
    },
    #[error("cannot sign: this host has no source of randomness")]
    Sign,
    #[error("a signed payload of `{reference}` does not have the digest {digest}; sign the artifact again")]
    WrongPayload { reference: String, digest: Digest },
    #[error("the registry has another manifest for `{reference}`: its digest is {found}")]
    WrongManifest { reference: String, found: Digest },
    #[error("{what} of `{reference}` is larger than the limit of {limit} bytes")]
    TooLarge {
        reference: String,
        what: &'static str,
        limit: u64,
    },
    #[error("`{reference}` cannot be used as an image: {problem}")]
    UnusableImage { reference: String, problem: String },
    #[error("`{reference}` cannot be used as an artifact")]
    UnusableArtifact {
        reference: String,
        source: ManifestError,
    },
    #[error("no tag can be derived from `{reference}`; give one with `--tag`")]
    NoLocalTag { reference: String, source: TagError },
    #[error(
        "`{tag}` is the tag of another artifact here, {origin}; give this one a tag: `parbake pull {reference} --tag TAG`"
    )]
    TagInUse {
        tag: Tag,
        /// "pulled from `REFERENCE`" or "created here".
        origin: String,
        reference: String,
    },
    #[error("cannot publish to `{reference}`: a published artifact gets its own digest; give a tag instead")]
    DigestGiven { reference: String },
}

impl RegistryError {
    pub(super) fn unusable(reference: &Reference, source: ManifestError) -> Self {
        Self::UnusableArtifact {
            reference: reference.to_string(),
            source,
        }
    }
}
