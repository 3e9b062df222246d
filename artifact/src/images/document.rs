//! Documents of container images: the fields used here of an image index and an image manifest (OCI image-spec 1.1, and
//! Docker's image manifest version 2), and the platform they name.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::config::host_architecture;
use crate::digest::Digest;

/// The annotation that containerd takes an image's name from before all others.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// OCI image-spec 1.1, annotations.md. Often a bare tag. Tools built on containers/image find an image by it
/// (containers-transports(5), `oci-archive`).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Set by BuildKit on descriptors of attestations and signatures.
const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
pub(crate) const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Maximum nesting of indexes.
pub(crate) const MAX_DEPTH: usize = 3;

/// An index or a manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    #[serde(default)]
    pub(crate) schema_version: u64,
    pub(crate) media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    /// Other places that serve the content: with them it need not be in the archive.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) urls: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: Map<String, Value>,
}

/// What a program runs on, in a descriptor or in an image's config.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Platform {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    variant: Option<String>,
}

/// Reads `null`, which Go's tools write for an empty list, as the default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// True for signatures, attestations and other artifacts, which are no container images.
    pub(crate) fn is_artifact(&self) -> bool {
        self.artifact_type.is_some() || self.subject.is_some()
    }
}

impl Descriptor {
    /// True if the media type is that of a layer of an image's files.
    pub(crate) fn is_file_system_layer(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        media_type.contains(".tar")
    }

    /// True if the descriptor itself says that it is no container image.
    pub(crate) fn is_artifact(&self) -> bool {
        self.artifact_type.is_some()
            || self.annotations.contains_key(DOCKER_REFERENCE_TYPE)
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// The name in the annotations: a full name, or else a bare tag.
    pub(crate) fn name(&self) -> Option<String> {
        let text = |key: &str| self.annotations.get(key)?.as_str();
        let text = |key: &str| text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        text(CONTAINERD_NAME).or_else(|| text(REF_NAME))
    }
}

impl Platform {
    /// True for what nothing runs on, as attestations have it.
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_missing() || self.architecture == "unknown"
    }

    /// True if no platform is named.
    pub(crate) fn is_missing(&self) -> bool {
        self.architecture.is_empty()
    }

    /// How well programs for this platform suit `architecture` (Go's name for it): lower is better, `None` if they do not
    /// run there. Variants are those of containerd's `platforms` package: `arm64/v8` is `arm64`, `amd64/v1` is `amd64`.
    pub(crate) fn rank(&self, architecture: &str) -> Option<u8> {
        let own = match self.architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if own != architecture || !matches!(self.os.as_str(), "" | "linux") {
            return None;
        }
        Some(match (own, self.variant.as_deref().unwrap_or_default()) {
            (_, "") | ("amd64", "v1") | ("arm64", "v8" | "8") => 0,
            ("amd64", "v2") => 1,
            ("amd64", "v3") => 2,
            _ => 3,
        })
    }

    /// [`Platform::rank`] on this host.
    pub(crate) fn rank_on_host(&self) -> Option<u8> {
        self.rank(host_architecture())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.os.as_str(), "" | "linux") {
            write!(f, "{}/", self.os)?;
        }
        f.write_str(&self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Platform;

    #[test]
    fn variants_of_an_architecture_are_ranked() {
        let rank = |os: &str, architecture: &str, variant: Option<&str>, host: &str| {
            let platform = json!({"os": os, "architecture": architecture, "variant": variant});
            serde_json::from_value::<Platform>(platform).unwrap().rank(host)
        };
        for (architecture, variant, expected) in [
            ("amd64", None, Some(0)),
            ("amd64", Some("v1"), Some(0)),
            ("amd64", Some("v2"), Some(1)),
            ("x86_64", Some("v3"), Some(2)),
            ("arm64", None, None),
        ] {
            let found = rank("linux", architecture, variant, "amd64");
            assert_eq!(found, expected, "{architecture} {variant:?}");
        }
        assert_eq!(rank("linux", "arm64", Some("v8"), "arm64"), Some(0));
        assert_eq!(rank("linux", "aarch64", None, "arm64"), Some(0));
        assert_eq!(rank("linux", "arm", Some("v7"), "arm64"), None);
        assert_eq!(rank("windows", "amd64", None, "amd64"), None);
    }
}
