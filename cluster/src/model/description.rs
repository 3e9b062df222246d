//! The description of a frozen cluster: the `cluster` value of an artifact's configuration.
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
//! `runtime` is containerd unless given. In a dual-stack cluster the networks and each node have their values of the other
//! IP family in `second`:
//!
//! ```json
//! "second": { "nodes": "fd00:10:89::/64", "gateway": "fd00:10:89::1", "pods": "fd00:10:244::/56", "services": "fd00:10:96::/112" }
//! "second": { "address": "fd00:10:89::b", "pod_cidr": "fd00:10:244::/64" }
//! ```
//!
//! Pulled artifacts are untrusted, so deserializing a description validates it as a whole.

mod error;
mod networks;
mod node;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::container_runtime::ContainerRuntime;
use super::name::{ClusterDomain, NodeName};
use super::version::KubernetesVersion;
use crate::error::Error;
pub use error::DescriptionError;
pub use networks::{FamilyNetworks, Networks};
pub(crate) use networks::{is_ipv6, overlap};
pub use node::{Node, NodeAddresses, Role};

/// The port of every API server.
const API_PORT: u16 = 6443;

/// A frozen cluster. Always consistent: see [`DescriptionError`] for what is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Description {
    kubernetes: KubernetesVersion,
    domain: ClusterDomain,
    networks: Networks,
    nodes: Vec<Node>,
    #[serde(skip_serializing_if = "BuiltinServices::is_empty")]
    services: BuiltinServices,
    #[serde(skip_serializing_if = "ContainerRuntime::is_default")]
    runtime: ContainerRuntime,
}

/// Services that the first control plane runs for nodes and their users, in addition to Kubernetes. Artifacts of older
/// bakes have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuiltinServices {
    /// A DNS server for names of nodes (dnsmasq).
    pub dns: bool,
    /// A registry for container images (distribution's `registry`).
    pub registry: bool,
}

impl BuiltinServices {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    kubernetes: KubernetesVersion,
    domain: ClusterDomain,
    networks: Networks,
    nodes: Vec<Node>,
    #[serde(default)]
    services: BuiltinServices,
    #[serde(default)]
    runtime: ContainerRuntime,
}

impl Description {
    /// Parses the `cluster` value of an artifact's configuration.
    ///
    /// # Errors
    /// [`Error::Description`].
    pub fn from_artifact(cluster: &serde_json::Value) -> Result<Self, Error> {
        Self::deserialize(cluster).map_err(Error::Description)
    }

    /// A cluster with containerd and without built-in services.
    ///
    /// # Errors
    /// The first contradiction between the parts.
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
            services: BuiltinServices::default(),
            runtime: ContainerRuntime::default(),
        })
    }

    #[must_use]
    pub fn with_runtime(self, runtime: ContainerRuntime) -> Self {
        Self { runtime, ..self }
    }

    #[must_use]
    pub fn with_builtin_services(self, services: BuiltinServices) -> Self {
        Self { services, ..self }
    }

    pub fn runtime(&self) -> ContainerRuntime {
        self.runtime
    }

    pub fn builtin_services(&self) -> BuiltinServices {
        self.services
    }

    pub fn kubernetes(&self) -> &KubernetesVersion {
        &self.kubernetes
    }

    /// The DNS domain of services.
    pub fn domain(&self) -> &ClusterDomain {
        &self.domain
    }

    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The nodes, control planes first; never empty.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The control-plane nodes; never empty.
    pub fn control_planes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// Where nodes and pods reach the API: at the only control plane, or, if there are several, at the gateway, which
    /// balances between [`Description::api_servers`].
    pub fn api_server(&self) -> SocketAddr {
        let address = match self.control_planes().count() {
            1 => self.nodes[0].address,
            _ => self.networks.gateway,
        };
        SocketAddr::new(address, API_PORT)
    }

    /// The addresses of the API servers themselves; never empty.
    pub fn api_servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.control_planes()
            .map(|node| SocketAddr::new(node.address, API_PORT))
    }

    /// The URL of [`Description::api_server`], as in the nodes' kubeconfigs.
    pub fn api_url(&self) -> String {
        format!("https://{}", self.api_server())
    }

    /// The cluster with other nodes.
    ///
    /// # Errors
    /// The nodes contradict each other or the networks.
    pub fn with_nodes(&self, nodes: Vec<Node>) -> Result<Self, DescriptionError> {
        check_nodes(&self.networks, &nodes)?;
        Ok(Self {
            nodes,
            ..self.clone()
        })
    }

    /// The cluster with its first `count` nodes only.
    ///
    /// # Errors
    /// [`DescriptionError::NodeCount`] when there are fewer nodes, or when a control plane would be left out.
    pub fn first_nodes(&self, count: usize) -> Result<Self, DescriptionError> {
        let (baked, control_planes) = (self.nodes.len(), self.control_planes().count());
        if !(control_planes..=baked).contains(&count) {
            return Err(DescriptionError::NodeCount {
                requested: count,
                baked,
                control_planes,
            });
        }
        self.with_nodes(self.nodes[..count].to_vec())
    }
}

impl TryFrom<Unchecked> for Description {
    type Error = DescriptionError;

    fn try_from(parts: Unchecked) -> Result<Self, DescriptionError> {
        let description = Self::new(parts.kubernetes, parts.domain, parts.networks, parts.nodes)?;
        Ok(description
            .with_builtin_services(parts.services)
            .with_runtime(parts.runtime))
    }
}

fn check_nodes(networks: &Networks, nodes: &[Node]) -> Result<(), DescriptionError> {
    let workers_follow = nodes.is_sorted_by_key(|node| node.role == Role::Worker);
    let starts_with_control_plane = nodes.first().is_some_and(|node| node.role == Role::ControlPlane);
    if !workers_follow || !starts_with_control_plane {
        return Err(DescriptionError::Order);
    }
    for (index, node) in nodes.iter().enumerate() {
        node.check(networks, &nodes[..index])?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
