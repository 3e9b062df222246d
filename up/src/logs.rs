//! The logs of a cluster's nodes and containers: shown as they are, or exported for a bug report.
//!
//! An [`export`] can be passed on: everything that looks like a key or a token is redacted, and objects that hold secrets are
//! not collected.

mod collect;
mod export;
mod redact;
mod show;

pub use crate::error::LogsError;
pub use export::{Exported, Missing, export};
pub use show::{ShowOptions, show};
