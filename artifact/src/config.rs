//! The artifact's config: what the frozen cluster is.
//!
//! ```text
//! {
//!   "version": 1,                         format version; newer ones are rejected
//!   "created": "2026-01-31T12:00:00Z",    RFC 3339
//!   "parbake": "0.1.0",                   version that froze it
//!   "architecture": "amd64", "os": "linux",
//!   "provider": "k8s-1.34",
//!   "machines": [{"name": "node01", "layers": ["sha256:...", ...]}, ...],    bottom layer first
//!   "cluster": {...},                     opaque here
//!   "rootfs": {"type": "layers", "diff_ids": ["sha256:...", ...]}            one per layer of the manifest
//! }
//! ```
//! `created`, `architecture`, `os` and `rootfs` mean what they mean in an OCI image config (OCI image-spec 1.1,
//! config.md), so that image tools can read an artifact.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::layer::Layer;
use crate::printable::{JsonError, is_printable, printable};

/// The format version that is written, and the newest that is supported.
pub const VERSION: u64 = 1;

/// Maximum number of layers of an artifact.
pub(crate) const MAX_LAYERS: usize = 1000;
const MAX_MACHINES: usize = 1000;
/// Maximum number of layers in an overlay (Linux, fs/overlayfs/params.h, `OVL_MAX_STACK`).
const MAX_STACK: usize = 500;
/// Maximum size of a layer's blob in bytes; the sum of a thousand still fits 64 bits.
const MAX_LAYER_SIZE: u64 = 1 << 40;
/// Maximum unpacked size of all layers in bytes: a fixed amount, plus a multiple of their packed size.
const BASE_UNPACKED_SIZE: u64 = 16 << 30;
const MAX_RATIO: u64 = 256;
/// Maximum length of a title or name in bytes.
const MAX_TITLE: usize = 255;

/// The config of an artifact. Unknown fields are errors: a field that changes the meaning must raise the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub version: u64,
    /// Time of the freeze.
    pub created: Timestamp,
    /// Version of the parbake that froze the cluster.
    pub parbake: String,
    /// Go's name for the CPU architecture (`amd64`, `arm64`).
    pub architecture: String,
    /// Always `linux`.
    pub os: String,
    /// Name of the provider that the cluster was baked from.
    pub provider: String,
    pub machines: Vec<MachineLayers>,
    /// Data of this crate's users, opaque here.
    pub cluster: serde_json::Value,
    pub rootfs: RootFs,
}

/// A machine and the layers of its root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineLayers {
    /// Host name: an RFC 1123 label.
    pub name: String,
    /// Bottom layer first: shared layers, then the machine's own.
    pub layers: Vec<Digest>,
}

/// `rootfs` of an OCI image config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digest of every layer's tar stream before compression, in the manifest's order.
    pub diff_ids: Vec<Digest>,
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "artifact format version {found} is newer than this parbake understands ({VERSION}); upgrade parbake"
    )]
    Newer { found: u64 },
    #[error("artifact format version {found} is invalid; it must be between 1 and {VERSION}")]
    UnknownVersion { found: u64 },
    #[error("the artifact's config is not valid")]
    Json(#[source] JsonError),
    /// Well-formed, but inconsistent in itself or with the manifest; all problems at once.
    #[error("the artifact's config is inconsistent: {}", printable(&.0.join("; ")))]
    Invalid(Vec<String>),
}

impl Config {
    /// Parses a config; call [`Config::check`] next.
    ///
    /// # Errors
    /// [`ConfigError::Newer`] for a newer version, whatever else the config has.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let unreadable = |error: serde_json::Error| ConfigError::Json(error.into());
        match serde_json::from_slice::<Versioned>(bytes)
            .map_err(unreadable)?
            .version
        {
            VERSION => serde_json::from_slice(bytes).map_err(unreadable),
            found if found > VERSION => Err(ConfigError::Newer { found }),
            found => Err(ConfigError::UnknownVersion { found }),
        }
    }

    /// Checks the config for consistency, in itself and with the manifest's layers. The cost of using an artifact is bounded
    /// by the cost of fetching it:
    ///
    /// | bound | limit | typical bake |
    /// |---|---|---|
    /// | layers and machines | 1000 each | 19 and 3 |
    /// | layers of a machine | 500, overlayfs's limit | 17 |
    /// | bytes of a layer, packed | 1 TiB | 87 MB |
    /// | bytes of all layers, unpacked | 16 GiB + 256 times the packed size | 3.6 times |
    /// | bytes of a name or title | 255, printable | 29 |
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all problems.
    pub fn check(&self, layers: &[Layer]) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if self.rootfs.kind != "layers" {
            problems.push(format!("`rootfs.type` is `{}`, not `layers`", self.rootfs.kind));
        }
        if self.os != "linux" {
            problems.push(format!("`os` is `{}`, not `linux`", self.os));
        }
        if self.rootfs.diff_ids.len() != layers.len() {
            let (ids, count) = (self.rootfs.diff_ids.len(), layers.len());
            problems.push(format!("it has {ids} diff ids for {count} layers"));
        } else if self
            .rootfs
            .diff_ids
            .iter()
            .zip(layers)
            .any(|(id, layer)| *id != layer.diff_id)
        {
            problems.push("its diff ids differ from those of the layers".to_owned());
        }
        for (field, text) in [
            ("parbake", &self.parbake),
            ("architecture", &self.architecture),
            ("provider", &self.provider),
        ] {
            if !is_title(text) {
                problems.push(format!("`{field}` is not printable text"));
            }
        }
        check_layers(layers, &mut problems);
        check_sizes(layers, &mut problems);
        check_machines(&self.machines, layers, &mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }
}

fn check_layers(layers: &[Layer], problems: &mut Vec<String>) {
    if layers.len() > MAX_LAYERS {
        problems.push(format!("it has {} layers, more than {MAX_LAYERS}", layers.len()));
    }
    let mut titles = BTreeSet::new();
    let mut by_digest = BTreeMap::new();
    for layer in layers {
        let title = &layer.title;
        if !is_title(title) {
            problems.push(format!("layer {} has no printable title", layer.digest));
        }
        if !titles.insert(title) {
            problems.push(format!("two layers are called `{title}`"));
        }
        let facts = (&layer.diff_id, layer.size, layer.unpacked_size);
        if *by_digest.entry(&layer.digest).or_insert(facts) != facts {
            problems.push(format!(
                "layer {} is listed twice with different properties",
                layer.digest
            ));
        }
    }
}

/// A small download must not fill the disk, or take hours to unpack.
fn check_sizes(layers: &[Layer], problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let (mut stored, mut unpacked) = (0_u64, 0_u64);
    for layer in layers.iter().filter(|layer| seen.insert(&layer.digest)) {
        if layer.size > MAX_LAYER_SIZE {
            problems.push(format!("layer {} is larger than 1 TiB", layer.digest));
            return;
        }
        stored = stored.saturating_add(layer.size);
        unpacked = unpacked.saturating_add(layer.unpacked_size);
    }
    if unpacked
        > stored
            .saturating_mul(MAX_RATIO)
            .saturating_add(BASE_UNPACKED_SIZE)
    {
        problems.push(format!(
            "its layers have {stored} bytes and unpack to {unpacked}, more than {MAX_RATIO} times as much"
        ));
    }
}

/// True for text that can be shown in one line, as a layer's title or a provider's name.
fn is_title(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TITLE && text.chars().all(is_printable)
}

fn check_machines(machines: &[MachineLayers], layers: &[Layer], problems: &mut Vec<String>) {
    if machines.is_empty() {
        problems.push("it has no machine".to_owned());
    }
    if machines.len() > MAX_MACHINES {
        problems.push(format!(
            "it has {} machines, more than {MAX_MACHINES}",
            machines.len()
        ));
        return;
    }
    let listed: BTreeSet<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let mut names = BTreeSet::new();
    for MachineLayers { name, layers } in machines {
        if !is_label(name) {
            problems.push(format!(
                "`{name}` is not a host name (RFC 1123: lower-case letters, digits and `-`)"
            ));
        }
        if !names.insert(name) {
            problems.push(format!("two machines are called `{name}`"));
        }
        if layers.is_empty() {
            problems.push(format!("machine `{name}` has no layer"));
        }
        if layers.len() > MAX_STACK {
            problems.push(format!(
                "machine `{name}` has {} layers, more than {MAX_STACK}",
                layers.len()
            ));
            continue;
        }
        let mut seen = BTreeSet::new();
        for digest in layers {
            if !listed.contains(digest) {
                problems.push(format!(
                    "machine `{name}` needs layer {digest}, which the manifest does not list"
                ));
            }
            // Overlayfs rejects a directory that occurs twice in a stack.
            if !seen.insert(digest) {
                problems.push(format!("machine `{name}` lists layer {digest} twice"));
            }
        }
    }
}

/// A host name label: RFC 1123 section 2.1, lower case, 1 to 63 characters.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Go's name for this host's architecture, as OCI configs have it.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
