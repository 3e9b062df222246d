//! The cases of `bench up`: a contender with a number of nodes and of clusters started at once.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::format::count;

/// Node counts measured with `--grow`, as far as they were baked.
const NODES: [usize; 4] = [1, 2, 4, 8];
/// Numbers of one-node clusters that `--grow` starts at once, besides a single one.
const CLUSTERS: [usize; 2] = [2, 4];

/// What `parbake up` is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// kubeadm on the same machines from the same layers.
    Init,
    /// etcd and the API server alone on the same data.
    Floor,
}

/// A way to a running cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// `parbake up`.
    Thaw,
    /// `kubeadm init` and `kubeadm join` with their own settings, then the same wait.
    Init,
    /// etcd and the API server without a kubelet: the lower bound for `/readyz` of a thaw.
    Floor,
}

/// One thing to measure several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    #[serde(rename = "side")]
    pub(crate) contender: Contender,
    pub(crate) nodes: usize,
    /// Clusters that are started at once.
    pub(crate) clusters: usize,
}

/// The cases of one run for an artifact with `baked` nodes.
pub(crate) fn cases(baked: usize, nodes: &[usize], against: &[Rival], grow: bool) -> Vec<Case> {
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
    let case = |contender, nodes, clusters| Case {
        contender,
        nodes,
        clusters,
    };
    let mut cases = Vec::new();
    for nodes in counts {
        cases.push(case(Contender::Thaw, nodes, 1));
        if against.contains(&Rival::Init) {
            cases.push(case(Contender::Init, nodes, 1));
        }
    }
    if against.contains(&Rival::Floor) {
        cases.push(case(Contender::Floor, 1, 1));
    }
    if grow {
        cases.extend(CLUSTERS.map(|clusters| case(Contender::Thaw, 1, clusters)));
    }
    cases
}

impl Rival {
    /// The names that [`FromStr`] accepts.
    pub const NAMES: [&'static str; 2] = ["init", "floor"];
}

impl FromStr for Rival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "init" => Ok(Self::Init),
            "floor" => Ok(Self::Floor),
            _ => Err(format!("`{text}` is neither `init` nor `floor`")),
        }
    }
}

impl fmt::Display for Contender {
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
        write!(out, "{}", self.contender)?;
        if self.contender != Contender::Floor {
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
    use super::{Rival, cases};

    fn names(baked: usize, nodes: &[usize], against: &[Rival], grow: bool) -> Vec<String> {
        let cases = cases(baked, nodes, against, grow);
        cases.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn contenders_alternate_within_a_run() {
        assert_eq!(names(3, &[], &[], false), ["thaw, 3 nodes"]);
        let both = Rival::NAMES.map(|name| name.parse().unwrap());
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
    fn growing_stops_at_the_baked_number_of_nodes() {
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
