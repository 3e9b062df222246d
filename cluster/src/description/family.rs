//! Families of addresses: a cluster has IPv4, IPv6 or both, and of each that it has the same things.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{DescriptionError, Networks, Node, Role, is_host, overlap};
use crate::name::NodeName;

/// A cluster's networks in one family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// The network that nodes share.
    pub nodes: IpNet,
    /// The nodes' default gateway, in [`Family::nodes`].
    pub gateway: IpAddr,
    /// The network that pods get their addresses from, a part of it for each node.
    pub pods: IpNet,
    /// The network of service addresses.
    pub services: IpNet,
}

/// A node's place in one family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its address in [`Family::nodes`].
    pub address: IpAddr,
    /// The part of [`Family::pods`] that its pods get their addresses from.
    pub pod_cidr: IpNet,
}

impl Networks {
    /// The networks of each family of addresses, the first one first.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        let first = Family {
            nodes: self.nodes,
            gateway: self.gateway,
            pods: self.pods,
            services: self.services,
        };
        std::iter::once(first).chain(self.second)
    }

    /// Whether there are addresses of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.families().any(|family| is_ipv6(&family.nodes))
    }

    /// Whether there are addresses of IPv4.
    pub fn has_ipv4(&self) -> bool {
        self.families().any(|family| !is_ipv6(&family.nodes))
    }

    /// One value of each family, in a list as Kubernetes' options take them.
    pub fn list<T: ToString>(&self, of: impl FnMut(Family) -> T) -> String {
        comma_separated(self.families().map(of))
    }

    pub(super) fn check(&self) -> Result<(), DescriptionError> {
        let alike = |family: Family| {
            let six = is_ipv6(&family.nodes);
            (is_ipv6(&family.pods) == six && is_ipv6(&family.services) == six).then_some(six)
        };
        let kinds: Vec<Option<bool>> = self.families().map(alike).collect();
        if kinds.contains(&None) || kinds.get(1) == kinds.first() {
            return Err(DescriptionError::Families);
        }
        let all = self
            .families()
            .flat_map(|family| [family.nodes, family.pods, family.services]);
        let all: Vec<IpNet> = all.collect();
        for (index, one) in all.iter().enumerate() {
            if let Some(other) = all[index + 1..].iter().find(|other| overlap(one, other)) {
                return Err(DescriptionError::Overlap(*one, *other));
            }
        }
        for family in self.families() {
            is_host("gateway", family.gateway, family.nodes)?;
        }
        is_host("API service", self.api, self.services)?;
        is_host("DNS service", self.dns, self.services)
    }
}

impl Node {
    /// A node with its place in one family of addresses, or in two; nothing else will do.
    pub(crate) fn at(name: NodeName, role: Role, places: &[Place]) -> Option<Self> {
        let (first, second) = match places {
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

    /// Its place in each family of addresses, the first one first.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let first = Place {
            address: self.address,
            pod_cidr: self.pod_cidr,
        };
        std::iter::once(first).chain(self.second)
    }

    /// Its addresses in the nodes' network, one of each family.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.places().map(|place| place.address)
    }

    /// Where its pods get their addresses from, one network of each family.
    pub fn pod_cidrs(&self) -> impl Iterator<Item = IpNet> {
        self.places().map(|place| place.pod_cidr)
    }

    /// One value of each family, in a list as Kubernetes' options take them.
    pub fn list<T: ToString>(&self, of: impl FnMut(Place) -> T) -> String {
        comma_separated(self.places().map(of))
    }

    /// The same node with pods elsewhere: one network for each family, the first one first.
    #[must_use]
    pub fn with_pods(&self, pods: &[IpNet]) -> Option<Self> {
        let count = self.places().count();
        let moved = self.places().zip(pods).map(|(place, pod_cidr)| Place {
            pod_cidr: *pod_cidr,
            ..place
        });
        let places: Vec<Place> = moved.collect();
        let whole = places.len() == count && pods.len() == count;
        Self::at(self.name.clone(), self.role, &places).filter(|_| whole)
    }

    /// Whether it has its own place in `networks`, beside `others`.
    pub(super) fn check(&self, networks: &Networks, others: &[Self]) -> Result<(), DescriptionError> {
        if others.iter().any(|other| other.name == self.name) {
            return Err(DescriptionError::Twice(self.name.to_string()));
        }
        if self.second.is_some() != networks.second.is_some() {
            return Err(DescriptionError::Families);
        }
        for (place, family) in self.places().zip(networks.families()) {
            let address = place.address;
            is_host(&format!("node `{}`'s", self.name), address, family.nodes)?;
            let mut taken = others.iter().flat_map(Self::addresses);
            if address == family.gateway || taken.any(|other| other == address) {
                return Err(DescriptionError::Twice(address.to_string()));
            }
            let mut taken = others.iter().flat_map(Self::pod_cidrs);
            if taken.any(|other| overlap(&other, &place.pod_cidr)) || !family.pods.contains(&place.pod_cidr) {
                return Err(DescriptionError::PodCidr {
                    node: self.name.clone(),
                    pod_cidr: place.pod_cidr,
                    network: family.pods,
                });
            }
        }
        Ok(())
    }
}

fn comma_separated<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let texts: Vec<String> = values.map(|value| value.to_string()).collect();
    texts.join(",")
}

pub(crate) fn is_ipv6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}
