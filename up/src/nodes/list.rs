//! `parbake node list`

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use parbake_artifact::Store;
use parbake_cluster::summary::NodeSummary;
use parbake_cluster::{Description, Node, NodeName, Role};
use serde::Serialize;

use crate::state::{cluster_dir, read};
use crate::{ClusterName, Error, Status, status};

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeListing {
    /// Its name.
    pub name: NodeName,
    /// Whether it is ready, as far as the API could be asked.
    pub ready: Option<bool>,
    /// What runs on it.
    pub role: Role,
    /// Where it came from.
    pub origin: Origin,
    /// Its address in the nodes' network.
    pub address: IpAddr,
    /// Where its pods get their addresses from.
    pub pods: IpNet,
}

/// Where a node came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The artifact, frozen.
    Baked,
    /// It joined, or will at the first start.
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

/// The nodes of a cluster, in whatever state it is.
///
/// # Errors
/// There is none of this name, its state is damaged, or its artifact is gone.
pub async fn list(state: &Path, name: &ClusterName) -> Result<Vec<NodeListing>, Error> {
    let seen = status(state, name).await?;
    let record = read(&cluster_dir(state, name))?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
    let store = Store::open(&state.join("store"))?;
    let artifact = store.get_by_digest(&record.tag, &record.artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let nodes = record.cluster.nodes().iter();
    Ok(nodes.map(|node| listed(node, &baked, &seen)).collect())
}

fn listed(node: &Node, baked: &Description, seen: &Status) -> NodeListing {
    let summary = |summary: &NodeSummary| summary.name == node.name.as_str() && summary.ready;
    let asked = !seen.pods.is_empty();
    let ready = seen.nodes.iter().any(|status| summary(&status.node));
    NodeListing {
        name: node.name.clone(),
        ready: asked.then_some(ready),
        role: node.role,
        origin: match baked.node(&node.name) {
            Some(_) => Origin::Baked,
            None => Origin::Joined,
        },
        address: node.address,
        pods: node.pod_cidr,
    }
}
