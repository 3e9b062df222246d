//! Contradictions in a cluster's description.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use crate::model::name::NodeName;

/// A cluster's description, or the networks and nodes it is made from, contradict each other.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DescriptionError {
    #[error("the networks `{0}` and `{1}` overlap")]
    Overlap(IpNet, IpNet),
    #[error("nodes, pods and services must be of the same families: all IPv4, all IPv6, or both each")]
    MixedFamilies,
    #[error("the {owner} address `{address}` is not a host of the network `{network}`")]
    OutsideNetwork {
        /// Such as `gateway`, or ``node `node01`'s``.
        owner: String,
        address: IpAddr,
        network: IpNet,
    },
    /// The pod network of a node is not part of the cluster's, or overlaps with another node's.
    #[error("the pod addresses `{pod_cidr}` of node `{node}` are not its own part of `{network}`")]
    PodCidr {
        node: NodeName,
        pod_cidr: IpNet,
        network: IpNet,
    },
    /// Two nodes, or a node and the gateway, have the same name or address.
    #[error("`{0}` is used twice among the nodes")]
    Duplicate(String),
    #[error("the control-plane nodes must come first, and there must be at least one")]
    Order,
    #[error("the network `{network}` has no room for {what}")]
    TooSmall { network: IpNet, what: String },
    #[error("a cluster of {nodes} nodes cannot have {control_planes} control planes")]
    TooManyControlPlanes { nodes: usize, control_planes: usize },
    #[error(
        "the cluster cannot run with {requested} nodes: it was baked with {baked}, of which the first \
         {control_planes} hold its control plane; choose {control_planes} to {baked}"
    )]
    NodeCount {
        requested: usize,
        baked: usize,
        /// Control planes, without which etcd would lose its majority.
        control_planes: usize,
    },
}
