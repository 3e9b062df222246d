//! The nodes of a cluster.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::DescriptionError;
use super::networks::{Networks, check_host_address, comma_separated, overlap};
use crate::model::name::NodeName;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name in the API, and its host name.
    pub name: NodeName,
    pub role: Role,
    /// Its address in [`Networks::nodes`].
    pub address: IpAddr,
    /// Its part of [`Networks::pods`].
    pub pod_cidr: IpNet,
    /// Its addresses in [`Networks::second`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<NodeAddresses>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    ControlPlane,
    Worker,
}

/// A node's addresses in one IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddresses {
    /// Its address in the node network.
    pub address: IpAddr,
    /// Its part of the pod network.
    pub pod_cidr: IpNet,
}

impl Node {
    /// A node with addresses in one or two IP families; `None` for any other number.
    pub(crate) fn with_addresses(name: NodeName, role: Role, families: &[NodeAddresses]) -> Option<Self> {
        let (first, second) = match families {
            [first] => (first, None),
            [first, second] => (first, Some(*second)),
            _ => return None,
        };
        Some(Self {
            name,
            role,
            address: first.address,
            pod_cidr: first.pod_cidr,
            second,
        })
    }

    /// Its addresses in each IP family, the primary family first.
    pub fn families(&self) -> impl Iterator<Item = NodeAddresses> {
        let first = NodeAddresses {
            address: self.address,
            pod_cidr: self.pod_cidr,
        };
        std::iter::once(first).chain(self.second)
    }

    /// Its addresses in the node network, one for each IP family.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.families().map(|family| family.address)
    }

    /// Its parts of the pod network, one for each IP family.
    pub fn pod_cidrs(&self) -> impl Iterator<Item = IpNet> {
        self.families().map(|family| family.pod_cidr)
    }

    /// One value for each IP family, in a comma-separated list as Kubernetes' options take them.
    pub fn comma_separated<T: ToString>(&self, value: impl FnMut(NodeAddresses) -> T) -> String {
        comma_separated(self.families().map(value))
    }

    /// The node with other pod networks, one for each IP family; `None` if their number is wrong.
    #[must_use]
    pub fn with_pod_cidrs(&self, pod_cidrs: &[IpNet]) -> Option<Self> {
        let families: Vec<NodeAddresses> = self
            .families()
            .zip(pod_cidrs)
            .map(|(family, pod_cidr)| NodeAddresses {
                pod_cidr: *pod_cidr,
                ..family
            })
            .collect();
        if families.len() != pod_cidrs.len() || families.len() != self.families().count() {
            return None;
        }
        Self::with_addresses(self.name.clone(), self.role, &families)
    }

    /// Checks its addresses against `networks` and the nodes before it.
    pub(super) fn check(&self, networks: &Networks, others: &[Self]) -> Result<(), DescriptionError> {
        if others.iter().any(|other| other.name == self.name) {
            return Err(DescriptionError::Duplicate(self.name.to_string()));
        }
        if self.second.is_some() != networks.second.is_some() {
            return Err(DescriptionError::MixedFamilies);
        }
        for (own, family) in self.families().zip(networks.families()) {
            let address = own.address;
            check_host_address(&format!("node `{}`'s", self.name), address, family.nodes)?;
            let mut taken = others.iter().flat_map(Self::addresses);
            if address == family.gateway || taken.any(|other| other == address) {
                return Err(DescriptionError::Duplicate(address.to_string()));
            }
            let mut taken = others.iter().flat_map(Self::pod_cidrs);
            if taken.any(|other| overlap(&other, &own.pod_cidr)) || !family.pods.contains(&own.pod_cidr) {
                return Err(DescriptionError::PodCidr {
                    node: self.name.clone(),
                    pod_cidr: own.pod_cidr,
                    network: family.pods,
                });
            }
        }
        Ok(())
    }
}
