//! Local names of artifacts, in the grammar of OCI tags (OCI distribution-spec 1.1, "Pulling manifests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::printable;

const MAX_LENGTH: usize = 128;

/// The local name of an artifact, for example `k8s-1.34`: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// A text that is not a [`Tag`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not an artifact name; use 1 to 128 letters, digits, `.`, `_` and `-`, not starting with `.` or `-`",
    printable(text)
)]
pub struct TagError {
    text: String,
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(word);
        if starts_well
            && text.len() <= MAX_LENGTH
            && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
        {
            Ok(Self(text))
        } else {
            Err(TagError { text })
        }
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Tag;

    #[test]
    fn tags_follow_the_grammar() {
        let longest = "x".repeat(128);
        for text in ["k8s-1.34", "_x", "A", &longest] {
            assert_eq!(text.parse::<Tag>().unwrap().as_str(), text);
        }
        let too_long = "x".repeat(129);
        for text in ["", ".x", "-x", "a/b", "a:b", "a b", "ä", &too_long] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
            assert!(serde_json::from_value::<Tag>(text.into()).is_err(), "{text}");
        }
    }
}
