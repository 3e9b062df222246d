//! HTTP for registries and web servers: one client configuration, one retry policy, one resumable download.
//!
//! A download writes to a `PartialFile`, continues it with range requests after an interruption, and
//! hands out the file only if its digest is right. Temporary failures (no connection, 408, 429, most of 5xx, a transfer that
//! breaks or stalls) are retried with exponential back-off, or after the time that `Retry-After` names.

mod client;
mod credentials;
mod download;
mod error;
mod helper;
mod no_proxy;
mod partial;
mod retry;
mod server;
mod web;

pub use client::ClientOptions;
pub use download::Observer;
pub use error::HttpError;
pub use server::Hints;
pub use web::{WebClient, host_and_port};

pub(crate) use client::Redirects;
pub(crate) use credentials::{Credential, Credentials};
pub(crate) use download::{Body, Expected, RangeSource, Size, download};
pub(crate) use error::one_line;
pub(crate) use partial::{CompleteFile, PartialFile};
pub(crate) use retry::retry;
pub(crate) use server::Server;
