//! Names of providers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not a valid name of a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a provider name: use lower-case letters and digits, with dots and dashes between them, \
     at most 63"
)]
pub struct InvalidProviderName {
    text: String,
}

/// The name of a provider: a folder under `providers/`, for example `k8s-1.34`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(String);

impl ProviderName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True if `text` can be part of the name of a folder and of an artifact.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| plain(c) || ".-".contains(c))
        && text.starts_with(plain)
        && text.ends_with(plain)
}

impl FromStr for ProviderName {
    type Err = InvalidProviderName;

    fn from_str(text: &str) -> Result<Self, InvalidProviderName> {
        is_name(text)
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| InvalidProviderName {
                text: text.to_owned(),
            })
    }
}

impl TryFrom<String> for ProviderName {
    type Error = InvalidProviderName;

    fn try_from(text: String) -> Result<Self, InvalidProviderName> {
        text.parse()
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ProviderName;

    #[test]
    fn names_are_validated() {
        for good in ["k8s-1.34", "a", &"a".repeat(63)] {
            assert_eq!(good.parse::<ProviderName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "..",
            ".",
            "a/b",
            "../a",
            "-x",
            "x.",
            "K8s",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<ProviderName>().is_err(), "{bad}");
            assert!(
                serde_json::from_value::<ProviderName>(bad.into()).is_err(),
                "{bad}"
            );
        }
    }
}
