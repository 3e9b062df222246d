//! Real registries over HTTP (OCI distribution-spec 1.1): [`publish`] and [`pull`].
//!
//! ```text
//!   publish                                   pull
//!                                             manifest, at most 4 MiB
//!                                             signatures: does the host's policy want one? documents
//!   for each blob, a few at a time
//!   ├── HEAD: the registry has it? skip       config, at most 8 MiB, checked like any other blob
//!   └── POST, PUT                             for each layer, a few at a time
//!   documents and signatures                  ├── the store has it, bytes and all? skip
//!   manifest, last: nobody sees half          ├── GET what is missing of it, into tmp/HEX.part
//!                                             ├── digest and length are right? into the store
//!                                             └── unpack, while others are still on their way
//!                                             name, last: nobody sees half
//! ```
//!
//! What fails for reasons that pass (no connection, 408, 429, 5xx, a connection that breaks or falls silent) is tried
//! again, more and more slowly; a blob goes on where it broke off, also after this process was killed. Credentials go
//! to the registry that they are for, and to nobody it redirects to.

mod attached;
mod client;
mod credentials;
mod error;
mod fetch;
mod manifests;
mod progress;
mod publish;
mod pull;
mod retry;

use std::panic::resume_unwind;
use std::path::PathBuf;

use tokio::task::JoinError;

use crate::policy::Policy;

pub use credentials::CredentialError;
pub use error::RegistryError;
pub use progress::Amount;
pub use publish::{Published, publish, publish_signed};
pub use pull::{Pulled, pull};

/// Blobs that are moved side by side.
const SIDE_BY_SIDE: usize = 4;
/// What a signature is called in messages.
const SIGN: &str = "signature";

/// How to speak to a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What may be pulled.
    pub policy: Policy,
    /// Without TLS.
    pub plain_http: bool,
    /// A PEM file with certificate authorities to trust besides those of the host.
    pub ca_file: Option<PathBuf>,
}

/// The outcome of a task that nobody cancels.
fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
