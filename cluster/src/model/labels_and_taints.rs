//! Labels and taints of nodes, with the validation rules of Kubernetes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid_value::InvalidValue;
use super::name::is_dns_name;

/// The effects of taints (Kubernetes API, `core/v1` Taint).
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const CHARACTERS: &str = "use letters, digits and inner `-`, `_`, `.`, at most 63";

/// Labels and taints of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelsAndTaints {
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
}

/// A taint in kubectl's syntax: `KEY[=VALUE]:EFFECT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

/// Checks the key of a label or taint (Kubernetes documentation, 'Labels and Selectors', syntax and character set).
///
/// # Errors
/// The key is invalid.
pub fn check_key(key: &str) -> Result<(), InvalidValue> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !name.is_empty() && is_value(name) && prefix.is_none_or(is_dns_name) {
        return Ok(());
    }
    Err(InvalidValue::new(
        key,
        format!("the key of a label or taint: {CHARACTERS}, optionally after a DNS name and a slash"),
    ))
}

/// Checks the value of a label or taint, which may be empty.
///
/// # Errors
/// The value is invalid.
pub fn check_value(value: &str) -> Result<(), InvalidValue> {
    if is_value(value) {
        return Ok(());
    }
    Err(InvalidValue::new(
        value,
        format!("the value of a label or taint: {CHARACTERS}"),
    ))
}

fn is_value(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_outer = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && text.bytes().all(is_allowed) && is_outer(bytes.first()) && is_outer(bytes.last())
}

impl FromStr for Taint {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            let effects = EFFECTS.join(", ");
            InvalidValue::new(
                text,
                format!("a taint such as dedicated=ci:NoSchedule; the effects are {effects}"),
            )
        };
        let (pair, effect) = text.rsplit_once(':').ok_or_else(invalid)?;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !EFFECTS.contains(&effect) {
            return Err(invalid());
        }
        check_key(key)?;
        check_value(value)?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        })
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(out, "={}", self.value)?;
        }
        write!(out, ":{}", self.effect)
    }
}

impl TryFrom<String> for Taint {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Taint> for String {
    fn from(taint: Taint) -> Self {
        taint.to_string()
    }
}

impl Taint {
    /// Its key and effect, which are unique on a node.
    pub fn identity(&self) -> (&str, &str) {
        (&self.key, &self.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::{Taint, check_key, check_value};

    #[test]
    fn taints_have_kubectls_syntax() {
        for text in ["a=b:NoSchedule", "example.org/a:PreferNoSchedule", "a:NoExecute"] {
            assert_eq!(text.parse::<Taint>().unwrap().to_string(), text);
        }
        for (text, problem) in [
            ("a=b", "is not a taint"),
            ("a=b:Never", "the effects are NoSchedule"),
            ("-a:NoSchedule", "is not the key"),
            ("=b:NoSchedule", "is not the key"),
            ("a=b c:NoSchedule", "is not the value"),
        ] {
            let error = text.parse::<Taint>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn keys_and_values_follow_kubernetes_rules() {
        let long = "a".repeat(63);
        for key in ["disk", "example.org/disk", "A_b.c", long.as_str()] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        let longer = "a".repeat(64);
        for key in ["", "/a", "a/", "Example.org/a", "a//b", "a b", longer.as_str()] {
            assert!(check_key(key).is_err(), "{key}");
        }
        for (value, good) in [("", true), ("ssd", true), ("-ssd", false), ("a/b", false)] {
            assert_eq!(check_value(value).is_ok(), good, "{value}");
        }
    }
}
