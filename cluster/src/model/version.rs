//! A Kubernetes version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid_value::InvalidValue;

/// A Kubernetes version as its binaries print it: `v1.34.4`, `v1.35.0-alpha.1.77+0123456789abcd`.
///
/// The leading `v` is optional when parsed and always written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KubernetesVersion(semver::Version);

impl KubernetesVersion {
    /// True for `1.minor` and newer. Pre-releases count as their minor version, which has its features from the first
    /// alpha on.
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
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        semver::Version::parse(text.strip_prefix('v').unwrap_or(text))
            .map(Self)
            .map_err(|_| InvalidValue::new(text, "a Kubernetes version such as `v1.34.4`"))
    }
}

impl TryFrom<String> for KubernetesVersion {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
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
    fn releases_and_builds_are_parsed() {
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
