//! What a cluster still lacks to be ready.

use serde::Serialize;
use thiserror::Error;

use crate::name::NodeName;

/// One thing that is still missing. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "missing", rename_all = "kebab-case")]
pub enum Missing {
    /// The API is not ready.
    #[error("API: {answer}")]
    Api {
        /// What it, or the way to it, answered.
        answer: String,
    },
    /// A node is not ready.
    #[error("node `{node}`: {reason}")]
    Node {
        /// The node.
        node: NodeName,
        /// Why not.
        reason: String,
    },
    /// A pod is not ready.
    #[error("pod `{pod}`: {reason}")]
    Pod {
        /// Namespace and name, with a slash between.
        pod: String,
        /// Why not.
        reason: String,
    },
    /// A set of pods is not complete.
    #[error("{kind} `{name}`: {have} of {want} pods exist")]
    Pods {
        /// `replica set` or `stateful set`.
        kind: &'static str,
        /// Namespace and name, with a slash between.
        name: String,
        /// How many there are.
        have: usize,
        /// How many there should be.
        want: usize,
    },
    /// The cluster's DNS does not answer.
    #[error("DNS on node `{node}`: {last}")]
    Dns {
        /// Where it was asked for.
        node: NodeName,
        /// What came instead of an answer.
        last: String,
    },
}

/// All of them, each on an indented line of its own.
pub(super) fn list(missing: &[Missing]) -> String {
    missing.iter().map(|item| format!("\n  {item}")).collect()
}
