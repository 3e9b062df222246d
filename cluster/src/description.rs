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
//!   "services": { "dns": true, "registry": true },
//!   "runtime": "cri-o"
//! }
//! ```
//!
//! Without `runtime` it is containerd.
//!
//! A cluster with both IPv4 and IPv6 has what it has of the other family in `second`, of the networks and of each node:
//!
//! ```json
//! "second": { "nodes": "fd00:10:89::/64", "gateway": "fd00:10:89::1", "pods": "fd00:10:244::/56", "services": "fd00:10:96::/112" }
//! "second": { "address": "fd00:10:89::b", "pod_cidr": "fd00:10:244::/64" }
//! ```
//!
//! It comes from outside with every pulled artifact, so reading one checks it as a whole.

mod family;
mod more;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::builtin_services::Offered;
use crate::container_runtime::ContainerRuntime;
use crate::name::{ClusterDomain, NodeName};
use crate::version::KubernetesVersion;
pub(crate) use family::is_ipv6;
pub use family::{Family, Place};

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
    #[serde(skip_serializing_if = "ContainerRuntime::is_default")]
    runtime: ContainerRuntime,
}

/// The three networks of a cluster and the addresses in them that are nobody's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// The network that nodes share.
    pub nodes: IpNet,
    /// The nodes' default gateway, in [`Networks::nodes`].
    pub gateway: IpAddr,
    /// The network that pods get their addresses from, a part of it for each node.
    pub pods: IpNet,
    /// The network of service addresses.
    pub services: IpNet,
    /// The service address of the API.
    pub api: IpAddr,
    /// The service address of the cluster's DNS.
    pub dns: IpAddr,
    /// The same networks in the other family of addresses, where the cluster has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Family>,
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
    pub address: IpAddr,
    /// The part of [`Networks::pods`] that its pods get their addresses from.
    pub pod_cidr: IpNet,
    /// Its place in [`Networks::second`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Place>,
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
    #[serde(default)]
    runtime: ContainerRuntime,
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
    Overlap(IpNet, IpNet),
    /// Families of addresses are mixed.
    #[error("nodes, pods and services must be of the same families: all IPv4, all IPv6, or both each")]
    Families,
    /// An address lies outside the network it belongs to.
    #[error("the {what} address `{address}` is not a host of the network `{network}`")]
    Outside {
        /// Whose address it is.
        what: String,
        /// The address.
        address: IpAddr,
        /// The network it should be in.
        network: IpNet,
    },
    /// A node's pod addresses lie outside the pod network, or in another node's.
    #[error("the pod addresses `{pod_cidr}` of node `{node}` are not its own part of `{network}`")]
    PodCidr {
        /// The node.
        node: NodeName,
        /// Its part.
        pod_cidr: IpNet,
        /// The whole.
        network: IpNet,
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
        network: IpNet,
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
            runtime: ContainerRuntime::default(),
        })
    }

    /// The same cluster with another container runtime on its nodes.
    #[must_use]
    pub fn on(self, runtime: ContainerRuntime) -> Self {
        Self { runtime, ..self }
    }

    /// What runs containers on its nodes.
    pub fn runtime(&self) -> ContainerRuntime {
        self.runtime
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
    pub fn api_server(&self) -> SocketAddr {
        let several = self.control_planes().nth(1).is_some();
        let address = if several {
            self.networks.gateway
        } else {
            self.nodes[0].address
        };
        SocketAddr::new(address, API_PORT)
    }

    /// Where the control planes' API servers listen; never empty.
    pub fn api_servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.control_planes()
            .map(|node| SocketAddr::new(node.address, API_PORT))
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
        Ok(same.offering(self.services).on(self.runtime))
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
        Ok(description.offering(parts.services).on(parts.runtime))
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
        node.check(networks, &nodes[..index])?;
    }
    Ok(())
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn is_host(what: &str, address: IpAddr, network: IpNet) -> Result<(), DescriptionError> {
    let inside = network.contains(&address) && address != network.network() && address != network.broadcast();
    inside.then_some(()).ok_or_else(|| DescriptionError::Outside {
        what: what.to_owned(),
        address,
        network,
    })
}

#[cfg(test)]
pub(crate) mod tests;
