//! `parbake node list`

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use parbake_artifact::Store;
use parbake_cluster::api::summary::NodeSummary;
use parbake_cluster::{Description, Node, NodeName, Role};
use serde::Serialize;

use crate::error::Error;
use crate::name::ClusterName;
use crate::state::read_existing;
use crate::status::{Status, status};

/// A node in the output of `parbake node list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeListing {
    pub name: NodeName,
    /// `None` if the API did not answer.
    pub ready: Option<bool>,
    pub role: Role,
    pub origin: Origin,
    /// Its address in the nodes' network.
    pub address: IpAddr,
    /// The subnet of its pods.
    pub pods: IpNet,
}

/// How a node came into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It is in the artifact.
    Baked,
    /// It joined later, or will at the first start.
    Joined,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Baked => "baked",
            Self::Joined => "joined",
        })
    }
}

/// The nodes of a cluster in any state.
///
/// # Errors
/// There is no such cluster, its state is damaged, or its artifact is missing.
pub async fn list(state: &Path, name: &ClusterName) -> Result<Vec<NodeListing>, Error> {
    let status = status(state, name).await?;
    let record = read_existing(state, name)?;
    let store = Store::open(&state.join("store"))?;
    let artifact = store.get_by_digest(&record.tag, &record.artifact)?;
    let baked = Description::from_artifact(&artifact.config.cluster)?;
    let nodes = record.cluster.nodes().iter();
    Ok(nodes.map(|node| listing(node, &baked, &status)).collect())
}

fn listing(node: &Node, baked: &Description, status: &Status) -> NodeListing {
    let is_ready = |summary: &NodeSummary| summary.name == node.name.as_str() && summary.ready;
    // Without an answer of the API there are no pods.
    let answered = !status.pods.is_empty();
    let ready = status.nodes.iter().any(|status| is_ready(&status.node));
    NodeListing {
        name: node.name.clone(),
        ready: answered.then_some(ready),
        role: node.role,
        origin: match baked.node(&node.name) {
            Some(_) => Origin::Baked,
            None => Origin::Joined,
        },
        address: node.address,
        pods: node.pod_cidr,
    }
}
