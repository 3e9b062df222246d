//! The name of a cluster.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Leaves room for a machine's name in a name of 63 characters made of both.
const MAX_LENGTH: usize = 40;

/// A cluster's name: a DNS label (RFC 1123, section 2.1) of up to 40 characters. Its directory has the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// Not a [`ClusterName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid cluster name: use 1 to 40 lower-case letters, digits and inner dashes")]
pub struct InvalidClusterName(String);

impl ClusterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    /// The name of the cluster of commands without `--name`: `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = InvalidClusterName;

    fn from_str(name: &str) -> Result<Self, InvalidClusterName> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = (1..=MAX_LENGTH).contains(&name.len())
            && name.bytes().all(is_allowed)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if is_valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidClusterName(name.to_owned()))
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = InvalidClusterName;

    fn try_from(name: String) -> Result<Self, InvalidClusterName> {
        name.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl AsRef<str> for ClusterName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ClusterName;

    #[test]
    fn only_short_dns_labels_are_valid() {
        let (longest, too_long) = ("x".repeat(40), "x".repeat(41));
        for valid in ["default", "a", "0", "ci-7", &longest] {
            assert_eq!(valid.parse::<ClusterName>().unwrap().as_str(), valid);
        }
        for invalid in [
            "", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "a b", "é", "a\n", &too_long,
        ] {
            assert!(invalid.parse::<ClusterName>().is_err(), "{invalid}");
            assert!(
                serde_json::from_value::<ClusterName>(invalid.into()).is_err(),
                "{invalid}"
            );
        }
    }

    #[test]
    fn error_explains_valid_names() {
        let error = "My_Cluster".parse::<ClusterName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`My_Cluster` is not a valid cluster name: use 1 to 40 lower-case letters, digits and inner dashes"
        );
    }

    #[test]
    fn default_name_is_valid() {
        let name = ClusterName::default();
        assert_eq!(name.as_str().parse(), Ok(name));
    }
}
