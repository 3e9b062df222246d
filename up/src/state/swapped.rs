//! Programs of a cluster that were replaced since it was thawed.

use parbake_artifact::Digest;
use parbake_cluster::NodeName;
use serde::{Deserialize, Serialize};

/// A program that was replaced by a user's build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swapped {
    /// Its name.
    pub program: String,
    /// The version it reports; `None` if parbake does not know how to ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// The image that contains it, if it runs from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The nodes that have it.
    pub nodes: Vec<NodeName>,
}

impl Swapped {
    /// `old` updated with `new`: a node has one program of a name.
    pub(crate) fn merge(old: &[Self], new: &[Self]) -> Vec<Self> {
        let mut all = old.to_vec();
        for one in new {
            for other in all.iter_mut().filter(|other| other.program == one.program) {
                other.nodes.retain(|node| !one.nodes.contains(node));
            }
            all.retain(|other| !other.nodes.is_empty());
            all.push(one.clone());
        }
        all
    }

    /// Images of `old` that no node needs once `new` is in place.
    pub(crate) fn stale_images(old: &[Self], new: &[Self]) -> Vec<String> {
        let replaced = |one: &&Self| {
            let mut all = new.iter().filter(|new| new.program == one.program);
            all.any(|new| new.image != one.image && one.nodes.iter().all(|node| new.nodes.contains(node)))
        };
        let stale = old.iter().filter(replaced);
        stale.filter_map(|one| one.image.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use parbake_artifact::Digest;
    use parbake_cluster::NodeName;

    use super::Swapped;

    fn swapped(program: &str, version: &str, nodes: &[usize]) -> Swapped {
        Swapped {
            program: program.to_owned(),
            version: None,
            digest: Digest::of(version.as_bytes()),
            image: Some(format!("{program}:{version}")),
            nodes: nodes.iter().map(|node| NodeName::numbered(*node)).collect(),
        }
    }

    #[test]
    fn node_has_one_program_of_a_name() {
        let first = [swapped("kubelet", "v1", &[1, 2]), swapped("etcd", "v1", &[1])];
        let second = Swapped::merge(&first, &[swapped("kubelet", "v2", &[2])]);
        assert_eq!(
            second,
            [
                swapped("kubelet", "v1", &[1]),
                swapped("etcd", "v1", &[1]),
                swapped("kubelet", "v2", &[2])
            ]
        );
        let third = Swapped::merge(&second, &[swapped("kubelet", "v3", &[1, 2])]);
        assert_eq!(
            third,
            [swapped("etcd", "v1", &[1]), swapped("kubelet", "v3", &[1, 2])]
        );
    }

    #[test]
    fn image_is_stale_once_replaced_on_all_its_nodes() {
        let old = [swapped("etcd", "a", &[1, 2]), swapped("coredns", "a", &[1])];
        let stale = |new: Swapped| Swapped::stale_images(&old, &[new]);
        assert_eq!(stale(swapped("etcd", "b", &[1, 2])), ["etcd:a"]);
        assert!(stale(swapped("etcd", "b", &[2])).is_empty());
        assert!(stale(swapped("etcd", "a", &[1, 2])).is_empty());
        assert!(stale(swapped("kube-proxy", "b", &[1, 2])).is_empty());
    }
}
