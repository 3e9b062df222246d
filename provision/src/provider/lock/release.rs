//! What source `release` may take: files and images, each by its digest.

use std::collections::BTreeMap;

use parbake_artifact::Digest;
use serde::{Deserialize, Serialize};

/// What is published, as it was when the lock was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Files, by name of the binary that is in them.
    pub files: BTreeMap<String, PinnedFile>,
    /// Images, by the full names by which kubeadm asks for them.
    pub images: BTreeMap<String, Digest>,
}

/// A file on a web server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Where it is published; mirrors have it under the same path.
    pub url: String,
    /// The digest of its bytes.
    pub digest: Digest,
}
