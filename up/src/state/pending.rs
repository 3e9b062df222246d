//! Changes that a command has begun but not finished, recorded so that they can be undone.

use parbake_cluster::api::workload_images::WorkloadContainer;
use parbake_cluster::{Node, NodeName};
use serde::{Deserialize, Serialize};

/// Changes in progress on a running cluster. After a failed or killed command, `crate::recover` reverts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PendingChanges {
    /// Nodes that are joining, not yet part of the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<Node>,
    /// Nodes that no longer belong to the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub departing: Vec<Node>,
    /// Nodes that parbake cordoned before removing them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cordoned: Vec<NodeName>,
    /// Replacements made by a swap that is not confirmed yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swapping: Vec<Undo>,
}

impl PendingChanges {
    /// True if no change is in progress.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How to undo one replacement of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// A file on a node. The node keeps the old file.
    File {
        /// The node.
        node: NodeName,
        /// Path on the node.
        path: String,
        /// What to do once the file is restored.
        after: FollowUp,
    },
    /// The image of a workload's container.
    Image {
        /// The workload, in the text form of `Workload`.
        workload: String,
        /// The container.
        container: String,
        /// The image before the swap.
        image: String,
    },
    /// An image that was loaded into the nodes.
    Loaded {
        /// Its name.
        image: String,
    },
}

/// What to do after a file on a node was replaced or restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FollowUp {
    /// Nothing: the program does not run permanently.
    Nothing,
    /// Restart this unit.
    Unit(String),
    /// Wait for the static pod whose manifest the file is.
    Pod {
        /// The pod's name, without the suffix of its node.
        name: String,
        /// The image in the manifest.
        image: String,
    },
}

impl Undo {
    pub(crate) fn file(node: &NodeName, path: &str, after: FollowUp) -> Self {
        Self::File {
            node: node.clone(),
            path: path.to_owned(),
            after,
        }
    }

    pub(crate) fn image(run: &WorkloadContainer) -> Self {
        Self::Image {
            workload: run.workload.to_string(),
            container: run.container.clone(),
            image: run.image.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use parbake_cluster::NodeName;

    use super::{FollowUp, PendingChanges, Undo};

    #[test]
    fn empty_changes_serialize_to_nothing() {
        assert_eq!(serde_json::to_string(&PendingChanges::default()).unwrap(), "{}");
        let changes: PendingChanges = serde_json::from_str(r#"{"cordoned": ["node03"]}"#).unwrap();
        assert!(!changes.is_empty() && changes.arriving.is_empty());
        assert!(serde_json::from_str::<PendingChanges>(r#"{"other": []}"#).is_err());
    }

    #[test]
    fn undo_has_a_stable_serialized_form() {
        let node = NodeName::numbered(2);
        let undo = [
            Undo::file(
                &node,
                "/usr/bin/kubelet",
                FollowUp::Unit("kubelet.service".to_owned()),
            ),
            Undo::file(&node, "/usr/bin/crictl", FollowUp::Nothing),
            Undo::Loaded {
                image: "example.org/etcd:1".to_owned(),
            },
        ];
        let text = serde_json::to_string(&undo).unwrap();
        assert_eq!(
            text,
            r#"[{"file":{"node":"node02","path":"/usr/bin/kubelet","after":{"unit":"kubelet.service"}}},"#
                .to_owned()
                + r#"{"file":{"node":"node02","path":"/usr/bin/crictl","after":"nothing"}},"#
                + r#"{"loaded":{"image":"example.org/etcd:1"}}]"#
        );
        assert_eq!(serde_json::from_str::<Vec<Undo>>(&text).unwrap(), undo);
    }
}
