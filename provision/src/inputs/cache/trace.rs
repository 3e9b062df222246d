//! The trace of cache lookups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// A step whose result is cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    /// For example `build the node OS`.
    pub step: String,
    /// Inputs by name: short values as they are, others as the beginning of a digest.
    pub inputs: BTreeMap<String, String>,
    /// True if the result was in the cache.
    #[serde(skip)]
    pub found: bool,
}

impl CachedStep {
    pub(super) fn new(what: &str, key: &Key, found: bool) -> Self {
        Self {
            step: what.to_owned(),
            inputs: key.fields().clone(),
            found,
        }
    }
}
