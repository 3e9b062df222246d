//! Real registries over HTTP (OCI distribution-spec 1.1): [`publish`] and [`pull`], [`resolve`], and [`pull_image`] for
//! container images.
//!
//! ```text
//!   publish                                   pull, from the first mirror that has it
//!   for each blob, a few at a time            manifest, at most 4 MiB; its signatures and documents
//!   ├── HEAD: the registry has it? skip       config, at most 8 MiB, checked like any other blob
//!   ├── POST: it can mount it? skip           for each layer, a few at a time
//!   └── POST, PUT                             ├── the store has it, bytes and all? skip
//!   documents and signatures                  ├── there is a delta from a layer that the store has?
//!   deltas from older artifacts               │   GET it, make the blob; digest and length are right?
//!   manifest, last: nobody sees half          ├── else GET what is missing of it, into tmp/HEX.part
//!                                             ├── digest and length are right? into the store
//!                                             └── unpack, while others are still on their way
//!                                             name, last: nobody sees half
//! ```
//!
//! What fails for reasons that pass (no connection, 408, 429, 5xx, a connection that breaks or falls silent) is tried
//! again, more and more slowly; a blob goes on where it broke off, also after this process was killed, or when another
//! mirror has to send the rest. Credentials go to the registry that they are for or to its server of tokens, and to
//! nobody it redirects to.

mod attached;
mod client;
mod connection;
mod credentials;
mod deltas;
mod error;
mod fetch;
mod files;
mod image;
mod manifests;
mod mirrors;
mod offer;
mod progress;
mod publish;
mod pull;
mod resolve;
mod retry;
mod sources;
mod throughput;
mod token;
mod upload;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinError;

use crate::policy::Policy;

pub use credentials::CredentialError;
pub use error::RegistryError;
pub use files::{check_exists, credential, file_client, manifest_digest};
pub use image::pull_image;
pub use mirrors::MirrorError;
pub use offer::PublishedDeltas;
pub use progress::TransferStats;
pub use publish::{PublishOptions, Published, publish, publish_with};
pub use pull::{Pulled, pull};
pub use resolve::resolve;
pub use throughput::download_and_discard;

/// Blobs that are moved side by side.
const SIDE_BY_SIDE: usize = 4;

/// How to speak to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What may be pulled.
    pub policy: Policy,
    /// Whether a pull makes layers out of older ones that the store has, where the registry has deltas.
    pub deltas: bool,
    /// Without TLS.
    pub plain_http: bool,
    /// A PEM file with certificate authorities to trust besides those of the host.
    pub ca_file: Option<PathBuf>,
    /// How long a registry may be silent while it is to send or to take something.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            deltas: true,
            plain_http: false,
            ca_file: None,
            timeout: Duration::from_secs(30),
        }
    }
}

/// The outcome of a task that nobody cancels.
fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
