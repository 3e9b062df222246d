//! A Kubernetes version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A Kubernetes version as its binaries print it: `v1.34.4`, `v1.35.0-alpha.1.77+0123456789abcd`.
///
/// The leading `v` may be left out when read and is always written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KubernetesVersion(semver::Version);

/// Text that is no version.
#[derive(Debug, Error)]
#[error("`{text}` is not a Kubernetes version such as `v1.34.4`")]
pub struct InvalidVersion {
    text: String,
    #[source]
    source: semver::Error,
}

impl KubernetesVersion {
    /// Whether this is `1.minor` or newer; the pre-releases of a minor version count as that version, because
    /// what a version adds is there from its first alpha on.
    pub fn at_least(&self, minor: u64) -> bool {
        (self.0.major, self.0.minor) >= (1, minor)
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "v{}", self.0)
    }
}

impl FromStr for KubernetesVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        semver::Version::parse(text.strip_prefix('v').unwrap_or(text))
            .map(Self)
            .map_err(|source| InvalidVersion {
                text: text.to_owned(),
                source,
            })
    }
}

impl TryFrom<String> for KubernetesVersion {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<KubernetesVersion> for String {
    fn from(version: KubernetesVersion) -> String {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::KubernetesVersion;

    #[test]
    fn reads_releases_and_builds() {
        for (text, minor) in [
            ("v1.34.4", 34),
            ("1.17.17", 17),
            ("v1.35.0-alpha.1.77+0123456789abcd", 35),
            ("v1.34.0-rc.1-dirty", 34),
        ] {
            let version: KubernetesVersion = text.parse().unwrap();
            assert!(version.at_least(minor) && !version.at_least(minor + 1), "{text}");
            assert_eq!(version.to_string(), format!("v{}", text.trim_start_matches('v')));
        }
        for bad in ["", "v1.34", "latest", "v1.34.x"] {
            assert!(bad.parse::<KubernetesVersion>().is_err(), "{bad}");
        }
    }
}
