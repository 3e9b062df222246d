//! Registries (OCI distribution-spec 1.1): [`publish`] and [`pull`] artifacts, [`resolve`] references, and [`pull_image`] for
//! container images.
//!
//! ```text
//!   publish                                   pull, from the first mirror that has it
//!   for each blob, a few at a time            manifest, at most 4 MiB; its signatures and documents
//!   ├── HEAD: in the registry? skip           config, at most 8 MiB, checked like any other blob
//!   ├── POST: can be mounted? skip            for each layer, a few at a time
//!   └── POST, PUT                             ├── in the store, with the right bytes? skip
//!   documents and signatures                  ├── a delta from a layer in the store?
//!   deltas from older artifacts               │   GET it, rebuild the blob, check digest and length
//!   manifest, last: all or nothing            ├── else GET what is missing of it, into tmp/HEX.part
//!                                             ├── check digest and length, move it into the store
//!                                             └── unpack, while other layers are still downloading
//!                                             tag, last: all or nothing
//! ```
//!
//! Temporary failures are retried, and an interrupted blob resumes, also in another process or from another mirror. Credentials
//! go only to the registry that they are for, or to its token server, and never to a host that the registry redirects to.

mod auth;
mod client;
mod deltas;
mod error;
mod fetch;
mod image;
mod manifests;
mod mirrors;
mod progress;
mod publish;
mod publish_deltas;
mod pull;
mod referrers;
mod repository;
mod resolve;
mod sources;
mod throughput;
mod upload;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinError;

use crate::http::ClientOptions;
use crate::policy::Policy;

pub use error::RegistryError;
pub use image::{check_image, pull_image};
pub use progress::TransferStats;
pub use publish::{PublishOptions, Published, publish, publish_with};
pub use publish_deltas::PublishedDeltas;
pub use pull::{Pulled, pull};
pub use resolve::{manifest_digest, resolve};
pub use throughput::download_and_discard;

/// Blobs that are transferred in parallel.
const PARALLEL_TRANSFERS: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How to access registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which artifacts may be pulled.
    pub policy: Policy,
    /// Rebuild layers from older ones in the store, where the registry has deltas.
    pub deltas: bool,
    /// Use HTTP without TLS.
    pub plain_http: bool,
    /// A PEM file with certificate authorities to trust besides those of the host.
    pub ca_file: Option<PathBuf>,
    /// How long a registry may neither send nor accept anything.
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

impl Options {
    /// The settings for HTTP.
    pub fn http(&self) -> ClientOptions {
        ClientOptions {
            ca_file: self.ca_file.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: self.timeout,
        }
    }
}

/// The outcome of a task that is never cancelled.
fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
