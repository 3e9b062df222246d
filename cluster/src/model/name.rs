//! Names of nodes, and of the cluster's DNS domain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid_value::InvalidValue;

/// A node's name, which is also its host name: one DNS label (RFC 1123, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// The DNS domain of services, without a dot at either end; usually `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterDomain(String);

impl NodeName {
    /// The name of the `number`th node, counted from 1: `node01`, `node02`, ...
    pub fn numbered(number: usize) -> Self {
        Self(format!("node{number:02}"))
    }
}

impl Default for ClusterDomain {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl FromStr for NodeName {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        match is_dns_label(name) {
            true => Ok(Self(name.to_owned())),
            false => Err(invalid(name, "node name")),
        }
    }
}

impl FromStr for ClusterDomain {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        match is_dns_name(name) {
            true => Ok(Self(name.to_owned())),
            false => Err(invalid(name, "cluster domain")),
        }
    }
}

fn invalid(name: &str, kind: &str) -> InvalidValue {
    let rule = "use lower-case letters, digits and inner dashes, at most 63 in a label";
    InvalidValue::new(name, format!("a {kind}: {rule}"))
}

/// True for one label of a DNS name (RFC 1123, section 2.1).
pub(crate) fn is_dns_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// True for labels with dots between them.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(name: String) -> Result<Self, InvalidValue> {
                name.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text_newtype!(NodeName);
text_newtype!(ClusterDomain);

#[cfg(test)]
mod tests {
    use super::{ClusterDomain, NodeName};

    #[test]
    fn node_names_are_dns_labels() {
        let long = "a".repeat(63);
        for good in ["node01", "a", "0", "a-b", long.as_str()] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a-",
            "Node",
            "a.b",
            "a_b",
            "a/b",
            "..",
            "a\n",
            "é",
            too_long.as_str(),
        ] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
        assert_eq!(NodeName::numbered(7).as_str(), "node07");
    }

    #[test]
    fn cluster_domains_are_dns_names() {
        for good in ["cluster.local", "local", "a.b.c"] {
            assert!(good.parse::<ClusterDomain>().is_ok(), "{good}");
        }
        for bad in ["", ".", "cluster.local.", ".local", "a..b", "A.b"] {
            assert!(bad.parse::<ClusterDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn serde_uses_the_same_validator() {
        assert!(serde_json::from_str::<NodeName>("\"node01\"").is_ok());
        let error = serde_json::from_str::<NodeName>("\"../x\"")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("`../x` is not a node name"), "{error}");
    }
}
