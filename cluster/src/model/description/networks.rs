//! The networks of a cluster, in one or both IP families.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::DescriptionError;

/// The networks of a cluster and its fixed addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    pub nodes: IpNet,
    /// The nodes' default gateway, in [`Networks::nodes`].
    pub gateway: IpAddr,
    /// The pod network; each node has a part of it.
    pub pods: IpNet,
    pub services: IpNet,
    /// The service address of the API.
    pub api: IpAddr,
    /// The service address of the cluster's DNS.
    pub dns: IpAddr,
    /// The networks of the other IP family, in a dual-stack cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<FamilyNetworks>,
}

/// A cluster's networks in one IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyNetworks {
    pub nodes: IpNet,
    /// The nodes' default gateway, in [`FamilyNetworks::nodes`].
    pub gateway: IpAddr,
    /// The pod network; each node has a part of it.
    pub pods: IpNet,
    pub services: IpNet,
}

impl Networks {
    /// The networks of each IP family, the primary family first.
    pub fn families(&self) -> impl Iterator<Item = FamilyNetworks> {
        let first = FamilyNetworks {
            nodes: self.nodes,
            gateway: self.gateway,
            pods: self.pods,
            services: self.services,
        };
        std::iter::once(first).chain(self.second)
    }

    pub fn has_ipv6(&self) -> bool {
        self.families().any(|family| is_ipv6(&family.nodes))
    }

    pub fn has_ipv4(&self) -> bool {
        self.families().any(|family| !is_ipv6(&family.nodes))
    }

    /// One value for each IP family, in a comma-separated list as Kubernetes' options take them.
    pub fn comma_separated<T: ToString>(&self, value: impl FnMut(FamilyNetworks) -> T) -> String {
        comma_separated(self.families().map(value))
    }

    pub(super) fn check(&self) -> Result<(), DescriptionError> {
        let uniform_family = |family: FamilyNetworks| {
            let ipv6 = is_ipv6(&family.nodes);
            (is_ipv6(&family.pods) == ipv6 && is_ipv6(&family.services) == ipv6).then_some(ipv6)
        };
        let kinds: Vec<Option<bool>> = self.families().map(uniform_family).collect();
        if kinds.contains(&None) || kinds.get(1) == kinds.first() {
            return Err(DescriptionError::MixedFamilies);
        }
        let all: Vec<IpNet> = self
            .families()
            .flat_map(|family| [family.nodes, family.pods, family.services])
            .collect();
        for (index, one) in all.iter().enumerate() {
            if let Some(other) = all[index + 1..].iter().find(|other| overlap(one, other)) {
                return Err(DescriptionError::Overlap(*one, *other));
            }
        }
        for family in self.families() {
            check_host_address("gateway", family.gateway, family.nodes)?;
        }
        check_host_address("API service", self.api, self.services)?;
        check_host_address("DNS service", self.dns, self.services)
    }
}

pub(crate) fn is_ipv6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// Checks that `address` is in `network` and is neither its first nor its last address.
pub(super) fn check_host_address(
    owner: &str,
    address: IpAddr,
    network: IpNet,
) -> Result<(), DescriptionError> {
    if network.contains(&address) && address != network.network() && address != network.broadcast() {
        return Ok(());
    }
    Err(DescriptionError::OutsideNetwork {
        owner: owner.to_owned(),
        address,
        network,
    })
}

pub(super) fn comma_separated<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let texts: Vec<String> = values.map(|value| value.to_string()).collect();
    texts.join(",")
}
