//! Reasons why a cluster is not ready.

use serde::Serialize;
use thiserror::Error;

use crate::model::name::NodeName;

/// One reason, displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "missing", rename_all = "kebab-case")]
pub enum NotReady {
    #[error("API: {answer}")]
    Api {
        /// The API's answer, or the error of the connection.
        answer: String,
    },
    #[error("node `{node}`: {reason}")]
    Node { node: NodeName, reason: String },
    #[error("pod `{pod}`: {reason}")]
    Pod {
        /// `NAMESPACE/NAME`.
        pod: String,
        reason: String,
    },
    #[error("{kind} `{name}`: {have} of {want} pods exist")]
    Pods {
        /// `replica set` or `stateful set`.
        kind: &'static str,
        /// `NAMESPACE/NAME`.
        name: String,
        have: usize,
        want: usize,
    },
    #[error("DNS on node `{node}`: {last}")]
    Dns {
        /// The node on which the query was sent.
        node: NodeName,
        /// The last failure.
        last: String,
    },
}

/// All reasons, each on its own indented line.
pub(super) fn list(reasons: &[NotReady]) -> String {
    reasons.iter().map(|reason| format!("\n  {reason}")).collect()
}
