//! The address plan: from three networks, of one family of addresses or of both, and a list of nodes to every address of a
//! cluster.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::description::{Description, DescriptionError, Family, Networks, Node, Place, Role, is_ipv6};
use crate::name::{ClusterDomain, NodeName};
use crate::version::KubernetesVersion;

/// The place of the gateway in the node network.
const GATEWAY: u32 = 1;
/// The place of the first node in the node network; what is before it stays free for others.
pub(crate) const FIRST_NODE: u32 = 11;
/// The place of the API in the service network, as the API server takes it.
const API: u32 = 1;
/// The place of DNS in the service network, as kubeadm takes it.
const DNS: u32 = 10;
/// The prefix lengths of a node's part of the pod network: the defaults of `--node-cidr-mask-size-ipv4` and
/// `--node-cidr-mask-size-ipv6`.
const NODE_PODS: (u8, u8) = (24, 64);

/// The three networks that a provider chooses; all addresses follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnets {
    /// The network that nodes share: the gateway is host 1, the nodes are hosts 11, 12, ...
    pub nodes: IpNet,
    /// The network of pods: each node gets a part of it, in order, a /24 of IPv4 or a /64 of IPv6.
    pub pods: IpNet,
    /// The network of services: the API is host 1, DNS is host 10.
    pub services: IpNet,
}

/// The networks that a provider chooses, of one family of addresses or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpFamilies {
    /// The family that everything has its address in.
    pub first: Subnets,
    /// The other one, where nodes, pods and services have both.
    pub second: Option<Subnets>,
}

impl Subnets {
    /// Gives every node, and everything else that has a fixed address, its address.
    ///
    /// # Errors
    /// When networks overlap or are too small, a name comes twice, or a worker comes before a control plane.
    pub fn describe(
        &self,
        kubernetes: KubernetesVersion,
        domain: ClusterDomain,
        nodes: &[(NodeName, Role)],
    ) -> Result<Description, DescriptionError> {
        let stacks = IpFamilies {
            first: *self,
            second: None,
        };
        stacks.describe(kubernetes, domain, nodes)
    }

    fn family(&self) -> Result<Family, DescriptionError> {
        Ok(Family {
            nodes: self.nodes.trunc(),
            gateway: host(self.nodes, GATEWAY, "the gateway")?,
            pods: self.pods.trunc(),
            services: self.services.trunc(),
        })
    }

    /// The places of the nodes `names`.
    fn places(&self, names: &[NodeName]) -> Result<Vec<Place>, DescriptionError> {
        let mut pods = node_pods(self.pods)?;
        let places = (FIRST_NODE..).zip(names).map(|(place, name)| {
            let what = format!("node `{name}`");
            Ok(Place {
                address: host(self.nodes, place, &what)?,
                pod_cidr: pods.next().ok_or(DescriptionError::TooSmall {
                    network: self.pods,
                    what: format!("the pods of {what}"),
                })?,
            })
        });
        places.collect()
    }
}

impl IpFamilies {
    /// As [`Subnets::describe`].
    ///
    /// # Errors
    /// Families of addresses are mixed, and what [`Subnets::describe`] says.
    pub fn describe(
        &self,
        kubernetes: KubernetesVersion,
        domain: ClusterDomain,
        nodes: &[(NodeName, Role)],
    ) -> Result<Description, DescriptionError> {
        let Family {
            nodes: shared,
            gateway,
            pods,
            services,
        } = self.first.family()?;
        let networks = Networks {
            nodes: shared,
            gateway,
            pods,
            services,
            api: host(services, API, "the service address of the API")?,
            dns: host(services, DNS, "the service address of DNS")?,
            second: self.second.map(|second| second.family()).transpose()?,
        };
        let names: Vec<NodeName> = nodes.iter().map(|(name, _)| name.clone()).collect();
        let first = self.first.places(&names)?;
        let second = match self.second {
            Some(second) => second.places(&names)?.into_iter().map(Some).collect(),
            None => vec![None; names.len()],
        };
        let places = first.into_iter().zip(second);
        let nodes = nodes
            .iter()
            .zip(places)
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

/// The parts of the network `pods` that nodes get.
pub(crate) fn node_pods(pods: IpNet) -> Result<impl Iterator<Item = IpNet>, DescriptionError> {
    let prefix = if is_ipv6(&pods) { NODE_PODS.1 } else { NODE_PODS.0 };
    pods.trunc()
        .subnets(prefix)
        .map_err(|_| DescriptionError::TooSmall {
            network: pods,
            what: format!("a /{prefix} of pods for each node"),
        })
}

/// The `place`th address of a network, which must be a host of it.
pub(crate) fn host(network: IpNet, place: u32, what: &str) -> Result<IpAddr, DescriptionError> {
    let address = match network.network() {
        IpAddr::V4(first) => u32::from(first)
            .checked_add(place)
            .map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(first) => u128::from(first)
            .checked_add(place.into())
            .map(|it| IpAddr::V6(it.into())),
    };
    address
        .filter(|address| *address < network.broadcast())
        .ok_or_else(|| DescriptionError::TooSmall {
            network,
            what: what.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{IpFamilies, Subnets};
    use crate::description::{Description, DescriptionError, Role};
    use crate::name::{ClusterDomain, NodeName};

    fn plan(nodes: &str, pods: &str, services: &str, count: usize) -> Result<Description, DescriptionError> {
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
            // Host bits that are set are no part of a network.
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
            let description = plan(nodes, pods, services, 2).unwrap();
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
        let stacks = IpFamilies {
            first: subnets(first),
            second: Some(subnets(second)),
        };
        let nodes = [
            (NodeName::numbered(1), Role::ControlPlane),
            (NodeName::numbered(2), Role::Worker),
        ];
        stacks.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &nodes)
    }

    const IPV4: [&str; 3] = ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"];
    const IPV6: [&str; 3] = ["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"];

    #[test]
    fn both_families_are_planned_alike() {
        let cluster = dual(IPV4, IPV6).unwrap();
        let networks = cluster.networks();
        assert_eq!(networks.list(|family| family.gateway), "10.89.0.1,fd00:10:89::1");
        assert_eq!(
            networks.list(|family| family.pods),
            "10.244.0.0/16,fd00:10:244::/56"
        );
        assert_eq!(networks.dns.to_string(), "10.96.0.10");
        assert_eq!(cluster.api_url(), "https://10.89.0.11:6443");
        let second = &cluster.nodes()[1];
        assert_eq!(second.list(|place| place.address), "10.89.0.12,fd00:10:89::c");
        assert_eq!(
            second.list(|place| place.pod_cidr),
            "10.244.1.0/24,fd00:10:244:1::/64"
        );
        // The other way round, and IPv6 alone.
        let cluster = dual(IPV6, IPV4).unwrap();
        assert_eq!(cluster.api_url(), "https://[fd00:10:89::b]:6443");
        let cluster = plan(IPV6[0], IPV6[1], IPV6[2], 1).unwrap();
        assert_eq!(cluster.networks().dns.to_string(), "fd00:10:96::a");
        assert!(cluster.networks().has_ipv6() && !cluster.networks().has_ipv4());
    }

    #[test]
    fn families_are_not_mixed() {
        for outcome in [
            dual(IPV4, ["10.90.0.0/24", "10.245.0.0/16", "10.112.0.0/12"]),
            dual([IPV4[0], IPV6[1], IPV4[2]], [IPV6[0], IPV4[1], IPV6[2]]),
            plan(IPV4[0], IPV6[1], IPV4[2], 1),
        ] {
            assert_eq!(outcome.unwrap_err(), DescriptionError::Families);
        }
        let error = dual(IPV4, [IPV6[0], "fd00:10:244::/65", IPV6[2]]).unwrap_err();
        assert!(error.to_string().contains("a /64 of pods"), "{error}");
    }

    #[test]
    fn refuses_what_does_not_fit() {
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
            let error = plan(nodes, pods, services, count).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
