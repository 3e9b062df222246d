//! Which results of the cache somebody asked for, and which of them were there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// A step that makes a result of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    /// What it does, such as `build the node OS`.
    pub step: String,
    /// What its result is made from, by name: short values as they are, others as the beginning of a digest.
    pub inputs: BTreeMap<String, String>,
    /// Whether the result was there.
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
