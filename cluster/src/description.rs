//! What a frozen cluster is: the `cluster` value of an artifact's configuration.
//!
//! ```json
//! {
//!   "kubernetes": "v1.34.4",
//!   "domain": "cluster.local",
//!   "networks": {
//!     "nodes": "10.89.0.0/24", "gateway": "10.89.0.1", "pods": "10.244.0.0/16",
//!     "services": "10.96.0.0/12", "api": "10.96.0.1", "dns": "10.96.0.10"
//!   },
//!   "nodes": [
//!     { "name": "node01", "role": "control-plane", "address": "10.89.0.11", "pod_cidr": "10.244.0.0/24" }
//!   ],
//!   "services": { "dns": true, "registry": true }
//! }
//! ```
//!
//! It comes from outside with every pulled artifact, so reading one checks it as a whole.

mod more;

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{ClusterDomain, NodeName};
use crate::offered::Offered;
use crate::version::KubernetesVersion;

/// The port of every API server.
const API_PORT: u16 = 6443;

/// What a frozen cluster is. Always consistent: see [`DescriptionError`] for what is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Description {
    kubernetes: KubernetesVersion,
    domain: ClusterDomain,
    networks: Networks,
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "Offered::is_nothing")]
    services: Offered,
}

/// The three networks of a cluster and the addresses in them that are nobody's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// The network that nodes share.
    pub nodes: Ipv4Net,
    /// The nodes' default gateway, in [`Networks::nodes`].
    pub gateway: Ipv4Addr,
    /// The network that pods get their addresses from, a part of it for each node.
    pub pods: Ipv4Net,
    /// The network of service addresses.
    pub services: Ipv4Net,
    /// The service address of the API.
    pub api: Ipv4Addr,
    /// The service address of the cluster's DNS.
    pub dns: Ipv4Addr,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, in the API and as host name.
    pub name: NodeName,
    /// What runs on it.
    pub role: Role,
    /// Its address in [`Networks::nodes`].
    pub address: Ipv4Addr,
    /// The part of [`Networks::pods`] that its pods get their addresses from.
    pub pod_cidr: Ipv4Net,
}

/// What runs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The API, its controllers and etcd.
    ControlPlane,
    /// Only workloads.
    Worker,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    kubernetes: KubernetesVersion,
    domain: ClusterDomain,
    networks: Networks,
    nodes: Vec<Node>,
    #[serde(default)]
    services: Offered,
}

/// An artifact's `cluster` value that is no [`Description`].
#[derive(Debug, Error)]
#[error("the artifact's description of its cluster is broken")]
pub struct BrokenDescription(#[source] serde_json::Error);

/// Why a description, or an address plan for one, does not hold together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DescriptionError {
    /// Nodes, pods and services share addresses.
    #[error("the networks `{0}` and `{1}` overlap")]
    Overlap(Ipv4Net, Ipv4Net),
    /// An address lies outside the network it belongs to.
    #[error("the {what} address `{address}` is not a host of the network `{network}`")]
    Outside {
        /// Whose address it is.
        what: String,
        /// The address.
        address: Ipv4Addr,
        /// The network it should be in.
        network: Ipv4Net,
    },
    /// A node's pod addresses lie outside the pod network, or in another node's.
    #[error("the pod addresses `{pod_cidr}` of node `{node}` are not its own part of `{network}`")]
    PodCidr {
        /// The node.
        node: NodeName,
        /// Its part.
        pod_cidr: Ipv4Net,
        /// The whole.
        network: Ipv4Net,
    },
    /// Two nodes, or a node and the gateway, have one name or address.
    #[error("`{0}` is used twice among the nodes")]
    Twice(String),
    /// The nodes do not begin with a control plane, or workers come between control planes.
    #[error("the control-plane nodes must come first, and there must be at least one")]
    Order,
    /// A network is too small.
    #[error("the network `{network}` has no room for {what}")]
    TooSmall {
        /// The network.
        network: Ipv4Net,
        /// What does not fit.
        what: String,
    },
    /// More control planes were asked for than nodes.
    #[error("a cluster of {nodes} nodes cannot have {control_planes} control planes")]
    TooFew {
        /// How many nodes were asked for.
        nodes: usize,
        /// How many of them were to be control planes.
        control_planes: usize,
    },
    /// Fewer nodes were asked for than can be had, or more where none can join.
    #[error(
        "the cluster cannot run with {asked} nodes: it was baked with {baked}, of which the first \
         {control_planes} hold its control plane; ask for {control_planes} to {baked}"
    )]
    Count {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        baked: usize,
        /// How many of them cannot be left out, because etcd would lose its majority.
        control_planes: usize,
    },
}

impl Description {
    /// Understands the `cluster` value of an artifact's configuration.
    ///
    /// # Errors
    /// Its source says what is wrong with it.
    pub fn of_artifact(cluster: &serde_json::Value) -> Result<Self, BrokenDescription> {
        Self::deserialize(cluster).map_err(BrokenDescription)
    }

    /// Checks the parts against each other.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn new(
        kubernetes: KubernetesVersion,
        domain: ClusterDomain,
        networks: Networks,
        nodes: Vec<Node>,
    ) -> Result<Self, DescriptionError> {
        networks.check()?;
        check_nodes(&networks, &nodes)?;
        Ok(Self {
            kubernetes,
            domain,
            networks,
            nodes,
            services: Offered::default(),
        })
    }

    /// The same cluster with the services that its first control plane runs for nodes and their users.
    #[must_use]
    pub fn offering(self, services: Offered) -> Self {
        Self { services, ..self }
    }

    /// The services that its first control plane runs for nodes and their users.
    pub fn offered(&self) -> Offered {
        self.services
    }

    /// The version of Kubernetes.
    pub fn kubernetes(&self) -> &KubernetesVersion {
        &self.kubernetes
    }

    /// The DNS domain of services.
    pub fn domain(&self) -> &ClusterDomain {
        &self.domain
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The nodes, control planes first; never empty.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The nodes that hold the control plane; never empty.
    pub fn control_planes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// Where the API is reached inside the cluster: at the only control plane's server, or else at the gateway, which
    /// leads to whichever of [`Description::api_servers`] answers.
    pub fn api_server(&self) -> SocketAddrV4 {
        let several = self.control_planes().nth(1).is_some();
        let address = if several {
            self.networks.gateway
        } else {
            self.nodes[0].address
        };
        SocketAddrV4::new(address, API_PORT)
    }

    /// Where the control planes' API servers listen; never empty.
    pub fn api_servers(&self) -> impl Iterator<Item = SocketAddrV4> {
        self.control_planes()
            .map(|node| SocketAddrV4::new(node.address, API_PORT))
    }

    /// The URL of [`Description::api_server`], as it stands in the nodes' kubeconfigs.
    pub fn api_url(&self) -> String {
        format!("https://{}", self.api_server())
    }

    /// The same cluster with other nodes.
    ///
    /// # Errors
    /// The nodes contradict each other or the networks.
    pub fn with(&self, nodes: Vec<Node>) -> Result<Self, DescriptionError> {
        let same = Self::new(
            self.kubernetes.clone(),
            self.domain.clone(),
            self.networks.clone(),
            nodes,
        )?;
        Ok(same.offering(self.services))
    }

    /// The same cluster with its first `count` nodes only.
    ///
    /// # Errors
    /// [`DescriptionError::Count`] when there are not that many, or when a control plane would be left out.
    pub fn with_nodes(&self, count: usize) -> Result<Self, DescriptionError> {
        let (baked, control_planes) = (self.nodes.len(), self.control_planes().count());
        if !(control_planes..=baked).contains(&count) {
            return Err(DescriptionError::Count {
                asked: count,
                baked,
                control_planes,
            });
        }
        Ok(Self {
            nodes: self.nodes[..count].to_vec(),
            ..self.clone()
        })
    }
}

impl TryFrom<Unchecked> for Description {
    type Error = DescriptionError;

    fn try_from(parts: Unchecked) -> Result<Self, DescriptionError> {
        let description = Self::new(parts.kubernetes, parts.domain, parts.networks, parts.nodes)?;
        Ok(description.offering(parts.services))
    }
}

impl Networks {
    fn check(&self) -> Result<(), DescriptionError> {
        let all = [self.nodes, self.pods, self.services];
        for (index, one) in all.iter().enumerate() {
            if let Some(other) = all[index + 1..].iter().find(|other| overlap(one, other)) {
                return Err(DescriptionError::Overlap(*one, *other));
            }
        }
        is_host("gateway", self.gateway, self.nodes)?;
        is_host("API service", self.api, self.services)?;
        is_host("DNS service", self.dns, self.services)
    }
}

fn check_nodes(networks: &Networks, nodes: &[Node]) -> Result<(), DescriptionError> {
    let first_worker = nodes
        .iter()
        .position(|node| node.role == Role::Worker)
        .unwrap_or(nodes.len());
    if first_worker == 0
        || nodes[first_worker..]
            .iter()
            .any(|node| node.role == Role::ControlPlane)
    {
        return Err(DescriptionError::Order);
    }
    for (index, node) in nodes.iter().enumerate() {
        let others = &nodes[..index];
        is_host(&format!("node `{}`'s", node.name), node.address, networks.nodes)?;
        if others.iter().any(|other| other.name == node.name) {
            return Err(DescriptionError::Twice(node.name.to_string()));
        }
        if node.address == networks.gateway || others.iter().any(|other| other.address == node.address) {
            return Err(DescriptionError::Twice(node.address.to_string()));
        }
        let taken = others
            .iter()
            .any(|other| overlap(&other.pod_cidr, &node.pod_cidr));
        if taken || !networks.pods.contains(&node.pod_cidr) {
            return Err(DescriptionError::PodCidr {
                node: node.name.clone(),
                pod_cidr: node.pod_cidr,
                network: networks.pods,
            });
        }
    }
    Ok(())
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn is_host(what: &str, address: Ipv4Addr, network: Ipv4Net) -> Result<(), DescriptionError> {
    let inside = network.contains(&address) && address != network.network() && address != network.broadcast();
    inside.then_some(()).ok_or_else(|| DescriptionError::Outside {
        what: what.to_owned(),
        address,
        network,
    })
}

#[cfg(test)]
mod tests;
