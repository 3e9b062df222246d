//! Artifacts and clusters that several tests use. Whoever needs one first makes it.

use parbake_test_support::identity;
use parbake_test_support::place::{Fixture, Outcome, PROVIDER, Place, check};
use parbake_test_support::{swap, workload};

use crate::{bake, configuration, environment, freeze, life, nodes, thaw};

/// The largest size that an artifact with 3 nodes may have, in bytes, compressed.
const SIZE: u64 = 350_000_000;

/// The baked artifact of [`PROVIDER`] in the store; the bake's secrets are recorded.
pub(crate) static ARTIFACT: Fixture = Fixture {
    name: "artifact",
    needs: &[],
    make: provision,
};
/// The artifact `one`, with a manifest and images of a user, and the same baked again in another state directory.
pub(crate) static TWO_BAKES: Fixture = Fixture {
    name: "two bakes",
    needs: &[&ARTIFACT],
    make: bake::killed,
};
/// The cluster `default` with three nodes.
pub(crate) static THREE_NODES: Fixture = Fixture {
    name: "three nodes",
    needs: &[&ARTIFACT],
    make: thaw::three_nodes,
};
/// The deployment and service `web` in the cluster `default`.
pub(crate) static WEB: Fixture = Fixture {
    name: "web",
    needs: &[&THREE_NODES],
    make: workload::service,
};
/// The cluster `live` with an application, and the artifact that was frozen from it.
pub(crate) static FROZEN: Fixture = Fixture {
    name: "frozen",
    needs: &[&ARTIFACT],
    make: freeze::live,
};
/// The cluster `copy`, started from the frozen artifact with one more node.
pub(crate) static COPY: Fixture = Fixture {
    name: "copy",
    needs: &[&FROZEN],
    make: freeze::beside,
};
/// The cluster `life` with one node and a stateful set that counts.
pub(crate) static LIFE: Fixture = Fixture {
    name: "life",
    needs: &[&ARTIFACT],
    make: life::started,
};
/// A second node of the cluster `life`.
pub(crate) static LIFE_NODE: Fixture = Fixture {
    name: "life node",
    needs: &[&LIFE],
    make: nodes::added,
};
/// Another kubelet on the first node of the cluster `life`.
pub(crate) static LIFE_SWAPPED: Fixture = Fixture {
    name: "life swapped",
    needs: &[&LIFE],
    make: swap::kubelet,
};
/// A stop and start of the cluster `life` with its swapped kubelet.
pub(crate) static LIFE_RESTARTED: Fixture = Fixture {
    name: "life restarted",
    needs: &[&LIFE_SWAPPED],
    make: life::stopped,
};
/// The cluster `configured`.
pub(crate) static CONFIGURED: Fixture = Fixture {
    name: "configured",
    needs: &[&ARTIFACT],
    make: configuration::made,
};
/// The namespace `fresh` in the cluster `configured`.
pub(crate) static CONFIGURED_OPTIONS: Fixture = Fixture {
    name: "configured options",
    needs: &[&CONFIGURED],
    make: configuration::options,
};
/// A restart of the cluster `configured`, and its namespace `late`.
pub(crate) static CONFIGURED_RESTARTED: Fixture = Fixture {
    name: "configured restarted",
    needs: &[&CONFIGURED_OPTIONS],
    make: configuration::again,
};

/// The cluster `hostile` with one node.
pub(crate) static HOSTILE: Fixture = Fixture {
    name: "hostile",
    needs: &[&ARTIFACT],
    make: environment::up,
};

fn provision(place: &Place) -> Outcome {
    identity::watched(place, || {
        let report = place.json(&["provision", PROVIDER])?;
        check(report["unchanged"] == false && report["nodes"] == 3, || {
            format!("{report}")
        })?;
        check(report["size"].as_u64().is_some_and(|size| size < SIZE), || {
            format!("too large: {report}")
        })
    })
}
