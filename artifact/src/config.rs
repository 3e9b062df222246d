//! The artifact's config: what the frozen cluster is.
//!
//! ```text
//! {
//!   "version": 1,                         format version; a newer one is refused
//!   "created": "2026-01-31T12:00:00Z",    RFC 3339
//!   "parbake": "0.1.0",                   who made it
//!   "architecture": "amd64", "os": "linux",
//!   "provider": "k8s-1.34",
//!   "machines": [{"name": "node01", "layers": ["sha256:...", ...]}, ...],    bottom layer first
//!   "cluster": {...},                     opaque here
//!   "rootfs": {"type": "layers", "diff_ids": ["sha256:...", ...]}            one a layer of the manifest
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

/// The format version written, and the newest understood.
pub const VERSION: u64 = 1;

/// Layers that an artifact may list.
pub(crate) const MAX_LAYERS: usize = 1000;
const MAX_MACHINES: usize = 1000;
/// Layers that overlayfs stacks (Linux, fs/overlayfs/params.h, `OVL_MAX_STACK`).
const MAX_STACK: usize = 500;
/// Bytes of a layer's blob; a thousand of them are still a number.
const MAX_LAYER_SIZE: u64 = 1 << 40;
/// What all layers may unpack to, in bytes: this much, and so many times what they have packed.
const FREE_SIZE: u64 = 16 << 30;
const MAX_RATIO: u64 = 256;
/// Bytes of a title or name.
const MAX_TITLE: usize = 255;

/// What the frozen cluster is. Unknown fields are errors: a field that changes the meaning must raise the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Format version, [`VERSION`].
    pub version: u64,
    /// When the cluster was frozen.
    pub created: Timestamp,
    /// Version of the parbake that froze it.
    pub parbake: String,
    /// CPU architecture in Go's spelling (`amd64`, `arm64`).
    pub architecture: String,
    /// Always `linux`.
    pub os: String,
    /// Name of the provider it was baked from.
    pub provider: String,
    /// The machines, in the cluster's order.
    pub machines: Vec<MachineLayers>,
    /// What only the users of this crate understand.
    pub cluster: serde_json::Value,
    /// The layers' digests before compression.
    pub rootfs: RootFs,
}

/// One machine and the layers its root file system is stacked from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineLayers {
    /// Host name of the machine: an RFC 1123 label.
    pub name: String,
    /// Layers, bottom first: shared ones, then its own.
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
    /// Written by a newer parbake.
    #[error(
        "artifact format version {found} is newer than this parbake understands ({VERSION}); upgrade parbake"
    )]
    Newer {
        /// The version found.
        found: u64,
    },
    /// A version that never was.
    #[error("artifact format version {found} is not known; it must be between 1 and {VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u64,
    },
    /// No JSON, or not of this shape.
    #[error("the artifact's config cannot be read")]
    Json(#[source] JsonError),
    /// Well-formed, but contradicts itself or the manifest; all problems at once.
    #[error("the artifact's config is not consistent: {}", printable(&.0.join("; ")))]
    Invalid(Vec<String>),
}

impl Config {
    /// Reads a config; call [`Config::check`] next.
    ///
    /// # Errors
    /// A newer version is [`ConfigError::Newer`], whatever else is in it.
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

    /// Checks the config against itself and the manifest's layers. What it takes to use an artifact is bounded by what it
    /// takes to fetch it:
    ///
    /// | bound | is | a bake has |
    /// |---|---|---|
    /// | layers and machines | 1000 each | 19 and 3 |
    /// | layers of a machine | 500, as overlayfs has it | 17 |
    /// | bytes of a layer, as it is stored | 1 TiB | 87 MB |
    /// | bytes of all layers, unpacked | 16 GiB and 256 times what is stored | 3.6 times |
    /// | bytes of a name or title | 255, all of it printable | 29 |
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem found.
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
            problems.push("its diff ids are not those of the layers".to_owned());
        }
        for (what, text) in [
            ("parbake", &self.parbake),
            ("architecture", &self.architecture),
            ("provider", &self.provider),
        ] {
            if !is_title(text) {
                problems.push(format!("`{what}` is no printable text"));
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
            problems.push(format!("layer {} is listed twice and differently", layer.digest));
        }
    }
}

/// A small blob must not fill the disk, or keep the processor busy for hours.
fn check_sizes(layers: &[Layer], problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let (mut stored, mut unpacked) = (0_u64, 0_u64);
    for layer in layers.iter().filter(|layer| seen.insert(&layer.digest)) {
        if layer.size > MAX_LAYER_SIZE {
            problems.push(format!("layer {} has more than 1 TiB", layer.digest));
            return;
        }
        stored = stored.saturating_add(layer.size);
        unpacked = unpacked.saturating_add(layer.unpacked_size);
    }
    if unpacked > stored.saturating_mul(MAX_RATIO).saturating_add(FREE_SIZE) {
        problems.push(format!(
            "its layers have {stored} bytes and unpack to {unpacked}, more than {MAX_RATIO} times as much"
        ));
    }
}

/// Whether it can be shown in a line: a layer's title, a provider's name.
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
                "`{name}` is no host name (RFC 1123: lower-case letters, digits and `-`)"
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
            // Overlayfs refuses the same directory twice in one stack.
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

/// This machine's architecture in Go's spelling, as OCI configs have it.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
