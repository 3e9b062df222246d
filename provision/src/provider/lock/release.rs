//! Pinned files and images of source `release`.

use std::collections::BTreeMap;

use parbake_artifact::Digest;
use serde::{Deserialize, Serialize};

/// Published files and images at the time when the lock was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// By name of the binary that they contain.
    pub files: BTreeMap<String, PinnedFile>,
    /// By the full name that kubeadm uses.
    pub images: BTreeMap<String, Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Mirrors have the file under the same path.
    pub url: String,
    pub digest: Digest,
}
