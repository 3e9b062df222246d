//! What a configuration says about nodes beyond what they are: labels and taints, set through the API.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint as NodeTaint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::api_error::ApiError;
use crate::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};

/// The effects that a taint may have (Kubernetes API, `core/v1` Taint).
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Labels and taints of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Labels by their keys.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

/// A taint as kubectl writes it: `KEY[=VALUE]:EFFECT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taint {
    key: String,
    value: String,
    effect: String,
}

/// A text that is no label or taint.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidMark {
    /// It is no key.
    #[error(
        "`{0}` is no key of a label or taint: use letters, digits and inner `-`, `_`, `.`, at most 63, with a DNS name \
         and a slash before it if need be"
    )]
    Key(String),
    /// It is no value.
    #[error("`{0}` is no value of a label or taint: use letters, digits and inner `-`, `_`, `.`, at most 63")]
    Value(String),
    /// It has no effect.
    #[error("`{0}` is no taint such as dedicated=ci:NoSchedule; effects are {effects}", effects = EFFECTS.join(", "))]
    Taint(String),
}

/// Labels and taints that could not be set.
#[derive(Debug, Error)]
#[error("could not set the labels and taints of the nodes")]
pub struct MarkError(#[source] TimedOut);

/// Checks the key of a label or taint (Kubernetes, 'Labels and Selectors', syntax and character set).
///
/// # Errors
/// [`InvalidMark::Key`].
pub fn check_key(key: &str) -> Result<(), InvalidMark> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_dns = |prefix: &str| {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
        };
        prefix.len() <= 253 && prefix.split('.').all(label)
    };
    let sound = !name.is_empty() && is_value(name) && prefix.is_none_or(is_dns);
    sound
        .then_some(())
        .ok_or_else(|| InvalidMark::Key(key.to_owned()))
}

/// Checks the value of a label or taint, which may be empty.
///
/// # Errors
/// [`InvalidMark::Value`].
pub fn check_value(value: &str) -> Result<(), InvalidMark> {
    is_value(value)
        .then_some(())
        .ok_or_else(|| InvalidMark::Value(value.to_owned()))
}

fn is_value(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && text.bytes().all(good) && ends(bytes.first()) && ends(bytes.last())
}

impl FromStr for Taint {
    type Err = InvalidMark;

    fn from_str(text: &str) -> Result<Self, InvalidMark> {
        let wrong = || InvalidMark::Taint(text.to_owned());
        let (mark, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (key, value) = mark.split_once('=').unwrap_or((mark, ""));
        if !EFFECTS.contains(&effect) {
            return Err(wrong());
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
    type Error = InvalidMark;

    fn try_from(text: String) -> Result<Self, InvalidMark> {
        text.parse()
    }
}

impl From<Taint> for String {
    fn from(taint: Taint) -> Self {
        taint.to_string()
    }
}

impl Taint {
    /// What tells it from a node's other taints: its key and effect.
    pub fn identity(&self) -> (&str, &str) {
        (&self.key, &self.effect)
    }
}

/// Sets labels and taints of nodes, beside those that they have; a taint takes the place of one with its key and effect.
/// May be called before the API answers: tries until it is done.
///
/// # Errors
/// When it is not done within `limit`; the source says which request failed last.
pub async fn set(
    client: &Client,
    marks: &BTreeMap<NodeName, Marks>,
    limit: Duration,
) -> Result<(), MarkError> {
    if marks.values().all(|marks| *marks == Marks::default()) {
        return Ok(());
    }
    Wait::new("the API to take labels and taints", limit)
        .until(|| async {
            match set_once(client, marks).await {
                Ok(()) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.line()),
            }
        })
        .await
        .map_err(MarkError)
}

async fn set_once(client: &Client, marks: &BTreeMap<NodeName, Marks>) -> Result<(), ApiError> {
    let nodes: Api<Node> = Api::all(client.clone());
    for (name, marks) in marks {
        let act = || format!("mark the node `{name}`");
        let node = nodes.get(name.as_str()).await.map_err(ApiError::new(act()))?;
        if let Some(change) = change(&node, marks) {
            nodes
                .patch(name.as_str(), &PatchParams::default(), &Patch::Merge(&change))
                .await
                .map_err(ApiError::new(act()))?;
        }
    }
    Ok(())
}

/// The merge patch (RFC 7386) that brings a node its marks; nothing where it has them. It names the version that it was
/// made for, since taints are replaced as a whole: another's change in between is a conflict.
fn change(node: &Node, marks: &Marks) -> Option<Value> {
    let has = node.metadata.labels.clone().unwrap_or_default();
    let labelled = marks
        .labels
        .iter()
        .all(|(key, value)| has.get(key) == Some(value));
    let before = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let after = tainted(&before, &marks.taints);
    let same = labelled && before == after;
    (!same).then(|| {
        json!({
            "metadata": { "labels": marks.labels, "resourceVersion": node.metadata.resource_version },
            "spec": { "taints": after },
        })
    })
}

fn tainted(before: &[NodeTaint], wanted: &[Taint]) -> Vec<NodeTaint> {
    let mut after = before.to_vec();
    for taint in wanted {
        let made = NodeTaint {
            key: taint.key.clone(),
            value: (!taint.value.is_empty()).then(|| taint.value.clone()),
            effect: taint.effect.clone(),
            ..NodeTaint::default()
        };
        let same = |other: &&mut NodeTaint| (other.key.as_str(), other.effect.as_str()) == taint.identity();
        match after.iter_mut().find(same) {
            Some(there) if there.value == made.value => {}
            Some(there) => *there = made,
            None => after.push(made),
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::{Marks, Taint, change, check_key, check_value};

    #[test]
    fn taints_are_as_kubectl_has_them() {
        for text in ["a=b:NoSchedule", "example.org/a:PreferNoSchedule", "a:NoExecute"] {
            assert_eq!(text.parse::<Taint>().unwrap().to_string(), text);
        }
        for (text, problem) in [
            ("a=b", "is no taint"),
            ("a=b:Never", "effects are NoSchedule"),
            ("-a:NoSchedule", "is no key"),
            ("=b:NoSchedule", "is no key"),
            ("a=b c:NoSchedule", "is no value"),
        ] {
            let error = text.parse::<Taint>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn keys_and_values_are_those_of_kubernetes() {
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

    #[test]
    fn what_a_node_has_beside_stays() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "node01", "resourceVersion": "7", "labels": { "a": "1" } },
            "spec": { "taints": [
                { "key": "own", "effect": "NoSchedule" },
                { "key": "t", "value": "old", "effect": "NoSchedule" },
            ] },
        }))
        .unwrap();
        let marks = Marks {
            labels: BTreeMap::from([("b".to_owned(), "2".to_owned())]),
            taints: vec![
                "t=new:NoSchedule".parse().unwrap(),
                "t:NoExecute".parse().unwrap(),
            ],
        };
        let expected = json!({
            "metadata": { "labels": { "b": "2" }, "resourceVersion": "7" },
            "spec": { "taints": [
                { "key": "own", "effect": "NoSchedule" },
                { "key": "t", "value": "new", "effect": "NoSchedule" },
                { "key": "t", "effect": "NoExecute" },
            ] },
        });
        assert_eq!(change(&node, &marks), Some(expected));
        let has = Marks {
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            taints: vec!["own:NoSchedule".parse().unwrap()],
        };
        assert_eq!(change(&node, &has), None);
    }
}
