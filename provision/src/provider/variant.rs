//! Variants of a provider: the same node OS, binaries and images with other add-ons and services.
//!
//! Variants share layers, which the store keeps once.

use std::fmt;
use std::str::FromStr;

use parbake_cluster::BuiltinServices;
use serde::{Deserialize, Serialize};

use super::names::is_name;
use super::text::{self, Name};

/// The settings of a variant that differ from its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Add-ons in the order in which they are applied; each is in `addons` or `optional` of the provider.
    #[serde(deserialize_with = "text::list::<Name, _>")]
    pub addons: Vec<String>,
    /// The built-in services, if they differ from the provider's.
    #[serde(default)]
    pub services: Option<BuiltinServices>,
}

/// A text that is not a valid name of a variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the name of a variant: use lower-case letters and digits, with dots and dashes between them, \
     at most 63"
)]
pub struct InvalidVariantName {
    text: String,
}

/// The name of a variant, for example `slim`. `PROVIDER-VARIANT` is the default tag of its artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariantName(String);

impl VariantName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariantName {
    type Err = InvalidVariantName;

    fn from_str(text: &str) -> Result<Self, InvalidVariantName> {
        is_name(text)
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| InvalidVariantName {
                text: text.to_owned(),
            })
    }
}

impl TryFrom<String> for VariantName {
    type Error = InvalidVariantName;

    fn try_from(text: String) -> Result<Self, InvalidVariantName> {
        text.parse()
    }
}

impl From<VariantName> for String {
    fn from(name: VariantName) -> Self {
        name.0
    }
}

impl fmt::Display for VariantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::VariantName;

    #[test]
    fn names_are_validated() {
        for good in ["slim", "full", "1.2-a", &"a".repeat(63)] {
            assert_eq!(good.parse::<VariantName>().unwrap().as_str(), good);
        }
        for bad in ["", "Slim", "a/b", "-a", "a.", "a b", "a_b", &"a".repeat(64)] {
            assert!(bad.parse::<VariantName>().is_err(), "{bad}");
            assert!(
                serde_json::from_value::<VariantName>(bad.into()).is_err(),
                "{bad}"
            );
        }
    }
}
