//! The name of a cluster.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Leaves room for a machine's name behind it wherever the two make one name of 63 characters.
const LONGEST: usize = 40;

/// A cluster's name: one DNS label (RFC 1123, section 2.1) of up to 40 characters, which is also its directory's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// A text that is no [`ClusterName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cluster name: use 1 to 40 lower-case letters, digits and inner dashes")]
pub struct InvalidClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    /// The cluster that commands mean when none is named: `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = InvalidClusterName;

    fn from_str(name: &str) -> Result<Self, InvalidClusterName> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let sound = (1..=LONGEST).contains(&name.len())
            && name.bytes().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if sound {
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
    fn names_are_short_dns_labels() {
        let (longest, too_long) = ("x".repeat(40), "x".repeat(41));
        for good in ["default", "a", "0", "ci-7", &longest] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in [
            "", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "a b", "é", "a\n", &too_long,
        ] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
            assert!(
                serde_json::from_value::<ClusterName>(bad.into()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_error_says_what_a_name_is() {
        let error = "My_Cluster".parse::<ClusterName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`My_Cluster` is no cluster name: use 1 to 40 lower-case letters, digits and inner dashes"
        );
    }

    #[test]
    fn the_usual_name_is_a_name() {
        let usual = ClusterName::default();
        assert_eq!(usual.as_str().parse(), Ok(usual));
    }
}
