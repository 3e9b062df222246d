//! The address plan: every address of a cluster, from its networks and the list of its nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::description::{
    Description, DescriptionError, FamilyNetworks, Networks, Node, NodeAddresses, Role, is_ipv6,
};
use super::name::{ClusterDomain, NodeName};
use super::version::KubernetesVersion;

/// The gateway's index in the node network.
const GATEWAY: u32 = 1;
/// The first node's index in the node network; the addresses before it stay free.
pub(crate) const FIRST_NODE: u32 = 11;
/// The API's index in the service network, chosen by the API server.
const API: u32 = 1;
/// The DNS service's index in the service network, chosen by kubeadm.
const DNS: u32 = 10;
/// The prefix length of a node's part of the pod network: the default of `--node-cidr-mask-size-ipv4`.
const NODE_CIDR_IPV4: u8 = 24;
/// The default of `--node-cidr-mask-size-ipv6`.
const NODE_CIDR_IPV6: u8 = 64;

/// The networks that a provider chooses, in one IP family. All addresses follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnets {
    /// The node network: the gateway is host 1, the nodes are hosts 11, 12, ...
    pub nodes: IpNet,
    /// The pod network: each node gets the next /24 (IPv4) or /64 (IPv6).
    pub pods: IpNet,
    /// The service network: the API is host 1, DNS is host 10.
    pub services: IpNet,
}

/// The networks that a provider chooses, in one or both IP families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpFamilies {
    /// The primary family.
    pub first: Subnets,
    /// The other family of a dual-stack cluster.
    pub second: Option<Subnets>,
}

impl Subnets {
    /// A cluster with these networks in one IP family.
    ///
    /// # Errors
    /// Networks overlap or are too small, a name is used twice, or a worker comes before a control plane.
    pub fn describe(
        &self,
        kubernetes: KubernetesVersion,
        domain: ClusterDomain,
        nodes: &[(NodeName, Role)],
    ) -> Result<Description, DescriptionError> {
        let families = IpFamilies {
            first: *self,
            second: None,
        };
        families.describe(kubernetes, domain, nodes)
    }

    fn family(&self) -> Result<FamilyNetworks, DescriptionError> {
        Ok(FamilyNetworks {
            nodes: self.nodes.trunc(),
            gateway: host(self.nodes, GATEWAY, "the gateway")?,
            pods: self.pods.trunc(),
            services: self.services.trunc(),
        })
    }

    fn node_addresses(&self, names: &[NodeName]) -> Result<Vec<NodeAddresses>, DescriptionError> {
        let mut pods = node_pod_cidrs(self.pods)?;
        let addresses = (FIRST_NODE..).zip(names).map(|(index, name)| {
            let node = format!("node `{name}`");
            Ok(NodeAddresses {
                address: host(self.nodes, index, &node)?,
                pod_cidr: pods.next().ok_or(DescriptionError::TooSmall {
                    network: self.pods,
                    what: format!("the pods of {node}"),
                })?,
            })
        });
        addresses.collect()
    }
}

impl IpFamilies {
    /// A cluster with these networks.
    ///
    /// # Errors
    /// The families are mixed, and everything that [`Subnets::describe`] lists.
    pub fn describe(
        &self,
        kubernetes: KubernetesVersion,
        domain: ClusterDomain,
        nodes: &[(NodeName, Role)],
    ) -> Result<Description, DescriptionError> {
        let first = self.first.family()?;
        let networks = Networks {
            nodes: first.nodes,
            gateway: first.gateway,
            pods: first.pods,
            services: first.services,
            api: host(first.services, API, "the service address of the API")?,
            dns: host(first.services, DNS, "the service address of DNS")?,
            second: self.second.map(|second| second.family()).transpose()?,
        };
        let names: Vec<NodeName> = nodes.iter().map(|(name, _)| name.clone()).collect();
        let first = self.first.node_addresses(&names)?;
        let second = match self.second {
            Some(second) => second.node_addresses(&names)?.into_iter().map(Some).collect(),
            None => vec![None; names.len()],
        };
        let addresses = first.into_iter().zip(second);
        let nodes = nodes
            .iter()
            .zip(addresses)
            .map(|((name, role), (first, second))| Node {
                name: name.clone(),
                role: *role,
                address: first.address,
                pod_cidr: first.pod_cidr,
                second,
            });
        Description::new(kubernetes, domain, networks, nodes.collect())
    }
}

/// The parts of the pod network that nodes get, in order.
pub(crate) fn node_pod_cidrs(pods: IpNet) -> Result<impl Iterator<Item = IpNet>, DescriptionError> {
    let prefix = match is_ipv6(&pods) {
        true => NODE_CIDR_IPV6,
        false => NODE_CIDR_IPV4,
    };
    pods.trunc()
        .subnets(prefix)
        .map_err(|_| DescriptionError::TooSmall {
            network: pods,
            what: format!("a /{prefix} of pods for each node"),
        })
}

/// The host address with that index in a network. `owner` is for the error.
pub(crate) fn host(network: IpNet, index: u32, owner: &str) -> Result<IpAddr, DescriptionError> {
    let address = match network.network() {
        IpAddr::V4(first) => u32::from(first)
            .checked_add(index)
            .map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(first) => u128::from(first)
            .checked_add(index.into())
            .map(|it| IpAddr::V6(it.into())),
    };
    address
        .filter(|address| *address < network.broadcast())
        .ok_or_else(|| DescriptionError::TooSmall {
            network,
            what: owner.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{IpFamilies, Subnets};
    use crate::model::description::{Description, DescriptionError, Role};
    use crate::model::name::{ClusterDomain, NodeName};

    fn describe(
        nodes: &str,
        pods: &str,
        services: &str,
        count: usize,
    ) -> Result<Description, DescriptionError> {
        let subnets = Subnets {
            nodes: nodes.parse().unwrap(),
            pods: pods.parse().unwrap(),
            services: services.parse().unwrap(),
        };
        let role = |number| {
            if number == 1 {
                Role::ControlPlane
            } else {
                Role::Worker
            }
        };
        let nodes: Vec<_> = (1..=count)
            .map(|number| (NodeName::numbered(number), role(number)))
            .collect();
        subnets.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &nodes)
    }

    #[test]
    fn addresses_follow_from_the_networks() {
        let cases = [
            (
                ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"],
                ["10.89.0.1", "10.96.0.1", "10.96.0.10"],
                [("10.89.0.11", "10.244.0.0/24"), ("10.89.0.12", "10.244.1.0/24")],
            ),
            // Host bits are ignored.
            (
                ["192.168.7.129/25", "172.16.200.9/20", "10.0.3.77/24"],
                ["192.168.7.129", "10.0.3.1", "10.0.3.10"],
                [
                    ("192.168.7.139", "172.16.192.0/24"),
                    ("192.168.7.140", "172.16.193.0/24"),
                ],
            ),
        ];
        for ([nodes, pods, services], [gateway, api, dns], expected) in cases {
            let description = describe(nodes, pods, services, 2).unwrap();
            let networks = description.networks();
            assert_eq!(
                [networks.gateway, networks.api, networks.dns],
                [gateway, api, dns].map(|text| text.parse::<IpAddr>().unwrap())
            );
            for (node, (address, pod_cidr)) in description.nodes().iter().zip(expected) {
                assert_eq!(node.address.to_string(), address);
                assert_eq!(node.pod_cidr.to_string(), pod_cidr);
            }
        }
    }

    /// Two nodes in the networks of two families, in order.
    fn dual(first: [&str; 3], second: [&str; 3]) -> Result<Description, DescriptionError> {
        let subnets = |[nodes, pods, services]: [&str; 3]| Subnets {
            nodes: nodes.parse().unwrap(),
            pods: pods.parse().unwrap(),
            services: services.parse().unwrap(),
        };
        let families = IpFamilies {
            first: subnets(first),
            second: Some(subnets(second)),
        };
        let nodes = [
            (NodeName::numbered(1), Role::ControlPlane),
            (NodeName::numbered(2), Role::Worker),
        ];
        families.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &nodes)
    }

    const IPV4: [&str; 3] = ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"];
    const IPV6: [&str; 3] = ["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"];

    #[test]
    fn dual_stack_addresses_follow_from_the_networks() {
        let cluster = dual(IPV4, IPV6).unwrap();
        let networks = cluster.networks();
        assert_eq!(
            networks.comma_separated(|family| family.gateway),
            "10.89.0.1,fd00:10:89::1"
        );
        assert_eq!(
            networks.comma_separated(|family| family.pods),
            "10.244.0.0/16,fd00:10:244::/56"
        );
        assert_eq!(networks.dns.to_string(), "10.96.0.10");
        assert_eq!(cluster.api_url(), "https://10.89.0.11:6443");
        let second = &cluster.nodes()[1];
        assert_eq!(
            second.comma_separated(|place| place.address),
            "10.89.0.12,fd00:10:89::c"
        );
        assert_eq!(
            second.comma_separated(|place| place.pod_cidr),
            "10.244.1.0/24,fd00:10:244:1::/64"
        );
        // IPv6 first, and IPv6 only.
        let cluster = dual(IPV6, IPV4).unwrap();
        assert_eq!(cluster.api_url(), "https://[fd00:10:89::b]:6443");
        let cluster = describe(IPV6[0], IPV6[1], IPV6[2], 1).unwrap();
        assert_eq!(cluster.networks().dns.to_string(), "fd00:10:96::a");
        assert!(cluster.networks().has_ipv6() && !cluster.networks().has_ipv4());
    }

    #[test]
    fn mixed_families_are_rejected() {
        for outcome in [
            dual(IPV4, ["10.90.0.0/24", "10.245.0.0/16", "10.112.0.0/12"]),
            dual([IPV4[0], IPV6[1], IPV4[2]], [IPV6[0], IPV4[1], IPV6[2]]),
            describe(IPV4[0], IPV6[1], IPV4[2], 1),
        ] {
            assert_eq!(outcome.unwrap_err(), DescriptionError::MixedFamilies);
        }
        let error = dual(IPV4, [IPV6[0], "fd00:10:244::/65", IPV6[2]]).unwrap_err();
        assert!(error.to_string().contains("a /64 of pods"), "{error}");
    }

    #[test]
    fn networks_without_room_or_that_overlap_are_rejected() {
        let cases = [
            (
                ["10.89.0.0/28", "10.244.0.0/16", "10.96.0.0/12"],
                5,
                "`10.89.0.0/28` has no room for node `node05`",
            ),
            (
                ["10.89.0.0/24", "10.244.0.0/23", "10.96.0.0/12"],
                3,
                "no room for the pods of node `node03`",
            ),
            (
                ["10.89.0.0/24", "10.244.0.0/25", "10.96.0.0/12"],
                1,
                "no room for a /24 of pods",
            ),
            (
                ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/29"],
                1,
                "no room for the service address of DNS",
            ),
            (
                ["10.0.0.0/8", "10.244.0.0/16", "10.96.0.0/12"],
                1,
                "the networks `10.0.0.0/8` and `10.244.0.0/16`",
            ),
            (
                ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"],
                0,
                "at least one",
            ),
        ];
        for ([nodes, pods, services], count, expected) in cases {
            let error = describe(nodes, pods, services, count).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
