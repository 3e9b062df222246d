//! What a cluster's nodes and containers wrote down: shown as it is, or exported to be handed on.
//!
//! [`export`] is for somebody else's eyes: of what it writes, everything that looks like a key or a token of the cluster
//! is blotted out, and it asks for no object that is made to keep secrets.

mod collect;
mod export;
mod redact;
mod show;

pub use crate::error::LogsError;
pub use export::{Exported, Missing, export};
pub use show::{ShowOptions, show};
