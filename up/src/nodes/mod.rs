//! Nodes that come to a cluster that runs, or leave it.
//!
//! ```text
//! add      written down -> boot beside the others -> join -> honestly ready -> written down as the cluster's
//! remove   cordon -> drain -> written down as gone -> power off -> forgotten by the API and by the other nodes
//! ```
//!
//! A node that joined is stacked from the layers that all machines share and has what kubeadm gave it; from then on it is
//! like any other. What is known of it stands in [`Record::cluster`](crate::Record); it is told from a baked one by the
//! artifact, which has no machine of its name.
//!
//! What a command is about to change stands in [`Changes`]. A command that fails puts it right; after one that was killed
//! the next one does, which is any that adds or removes nodes, starts the cluster or freezes it.
//!
//! The same goes for programs that are swapped, see [`crate::swap`].
//!
//! Only control planes that were baked hold etcd, so only workers come and go.

mod add;
mod arrive;
mod error;
mod list;
mod remove;
mod tidy;

use parbake_cluster::{Client, Node, NodeName, connect_file};
use parbake_machine::handle::Running;
use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::state::{Claim, Phase, Record, own_kubeconfig};
use crate::swap::Undo;
use crate::{Cluster, ClusterName, Error};
pub use add::{AddOptions, Added, add};
pub(crate) use arrive::Arrival;
pub use error::NodeError;
pub use list::{Listed, Origin, list};
pub use remove::{RemoveOptions, remove};
pub(crate) use tidy::tidy;

/// What a command is changing about a cluster's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Nodes that are to join, and are none of the cluster's yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<Node>,
    /// Nodes that are the cluster's no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub departing: Vec<Node>,
    /// Nodes that take no pods because they may be removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cordoned: Vec<NodeName>,
    /// What a swap has replaced and is not sure of yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swapping: Vec<Undo>,
}

impl Changes {
    /// Whether nothing is changing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A cluster that runs, held by this command, with nothing left of an earlier one.
pub(crate) struct Held {
    pub(crate) claim: Claim,
    pub(crate) record: Record,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

impl Held {
    pub(crate) async fn find(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        crate::freeze::sweep(state)?;
        let (claim, _) = Claim::existing(state, name)?;
        let cluster = Cluster::find(state, name)?;
        if cluster.record().phase != Phase::Up {
            return Err(Error::Unfinished { name: name.clone() });
        }
        let client = connect_file(&own_kubeconfig(claim.dir())).await?;
        let (mut record, running) = cluster.into_parts();
        let running = tidy(&claim, &mut record, running, &client).await?;
        Ok(Self {
            claim,
            record,
            running,
            client,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Changes;

    #[test]
    fn what_is_not_changing_is_not_written_down() {
        assert_eq!(serde_json::to_string(&Changes::default()).unwrap(), "{}");
        let changes: Changes = serde_json::from_str(r#"{"cordoned": ["node03"]}"#).unwrap();
        assert!(!changes.is_empty() && changes.arriving.is_empty());
        assert!(serde_json::from_str::<Changes>(r#"{"other": []}"#).is_err());
    }
}
