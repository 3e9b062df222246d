//! What is measured: sides, with so many nodes and so many clusters at once.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::output::count;

/// How many nodes a cluster has as it grows.
const NODES: [usize; 4] = [1, 2, 4, 8];
/// How many clusters of one node are started at once beside a single one.
const CLUSTERS: [usize; 2] = [2, 4];

/// What a start is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Against {
    // Not documentation, since that would make the help longer than its worth.
    // kubeadm, on the same machines from the same layers.
    Init,
    // etcd and the API server alone on the same data.
    Floor,
}

/// One way to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Side {
    /// `parbake up`.
    Thaw,
    /// `kubeadm init` and `kubeadm join` with their own settings, then the same wait.
    Init,
    /// etcd and the API server without a kubelet: what a thaw's `/readyz` cannot be before.
    Floor,
}

/// One thing that is measured, several times over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    pub(super) side: Side,
    pub(super) nodes: usize,
    /// How many clusters are started at once.
    pub(super) clusters: usize,
}

/// All that is measured in one run, of an artifact with `baked` nodes: with each of `nodes`, and as a cluster grows.
pub(super) fn cases(baked: usize, nodes: &[usize], against: &[Against], grow: bool) -> Vec<Case> {
    let mut counts: Vec<usize> = if grow {
        NODES
            .into_iter()
            .filter(|count| *count < baked)
            .chain([baked])
            .collect()
    } else if nodes.is_empty() {
        vec![baked]
    } else {
        nodes.to_vec()
    };
    counts.dedup();
    let case = |side, nodes, clusters| Case {
        side,
        nodes,
        clusters,
    };
    let mut cases = Vec::new();
    for nodes in counts {
        cases.push(case(Side::Thaw, nodes, 1));
        if against.contains(&Against::Init) {
            cases.push(case(Side::Init, nodes, 1));
        }
    }
    if against.contains(&Against::Floor) {
        cases.push(case(Side::Floor, 1, 1));
    }
    if grow {
        cases.extend(CLUSTERS.map(|clusters| case(Side::Thaw, 1, clusters)));
    }
    cases
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Thaw => "thaw",
            Self::Init => "init",
            Self::Floor => "floor",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.side)?;
        if self.side != Side::Floor {
            write!(out, ", {}", count(self.nodes, "node"))?;
        }
        if self.clusters > 1 {
            write!(out, ", {} clusters at once", self.clusters)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Against, cases};

    fn names(baked: usize, nodes: &[usize], against: &[Against], grow: bool) -> Vec<String> {
        let cases = cases(baked, nodes, against, grow);
        cases.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sides_take_turns_within_a_run() {
        assert_eq!(names(3, &[], &[], false), ["thaw, 3 nodes"]);
        let both = [Against::Floor, Against::Init];
        let expected = [
            "thaw, 1 node",
            "init, 1 node",
            "thaw, 3 nodes",
            "init, 3 nodes",
            "floor",
        ];
        assert_eq!(names(3, &[1, 3], &both, false), expected);
    }

    #[test]
    fn a_cluster_grows_up_to_what_was_baked() {
        let at_once = [
            "thaw, 1 node, 2 clusters at once",
            "thaw, 1 node, 4 clusters at once",
        ];
        for (baked, counts) in [
            (1, vec!["thaw, 1 node"]),
            (3, vec!["thaw, 1 node", "thaw, 2 nodes", "thaw, 3 nodes"]),
            (
                8,
                vec!["thaw, 1 node", "thaw, 2 nodes", "thaw, 4 nodes", "thaw, 8 nodes"],
            ),
        ] {
            let expected = [counts.as_slice(), at_once.as_slice()].concat();
            assert_eq!(names(baked, &[], &[], true), expected);
        }
    }
}
