//! The address plan: from three networks and a list of nodes to every address of a cluster.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::description::{Description, DescriptionError, Networks, Node, Role};
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
/// The prefix length of a node's part of the pod network: the default of `--node-cidr-mask-size-ipv4`.
pub(crate) const NODE_PODS: u8 = 24;

/// The three networks that a provider chooses; all addresses follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnets {
    /// The network that nodes share: the gateway is host 1, the nodes are hosts 11, 12, ...
    pub nodes: Ipv4Net,
    /// The network of pods: each node gets a /24 of it, in order.
    pub pods: Ipv4Net,
    /// The network of services: the API is host 1, DNS is host 10.
    pub services: Ipv4Net,
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
        let networks = self.networks()?;
        let mut pods = self.node_pods()?;
        let nodes = (FIRST_NODE..).zip(nodes).map(|(place, (name, role))| {
            let what = format!("node `{name}`");
            Ok(Node {
                name: name.clone(),
                role: *role,
                address: host(self.nodes, place, &what)?,
                pod_cidr: pods.next().ok_or(DescriptionError::TooSmall {
                    network: self.pods,
                    what: format!("the pods of {what}"),
                })?,
            })
        });
        Description::new(kubernetes, domain, networks, nodes.collect::<Result<_, _>>()?)
    }

    fn networks(&self) -> Result<Networks, DescriptionError> {
        Ok(Networks {
            nodes: self.nodes.trunc(),
            gateway: host(self.nodes, GATEWAY, "the gateway")?,
            pods: self.pods.trunc(),
            services: self.services.trunc(),
            api: host(self.services, API, "the service address of the API")?,
            dns: host(self.services, DNS, "the service address of DNS")?,
        })
    }

    fn node_pods(&self) -> Result<impl Iterator<Item = Ipv4Net>, DescriptionError> {
        self.pods
            .trunc()
            .subnets(NODE_PODS)
            .map_err(|_| DescriptionError::TooSmall {
                network: self.pods,
                what: format!("a /{NODE_PODS} of pods for each node"),
            })
    }
}

/// The `place`th address of a network, which must be a host of it.
pub(crate) fn host(network: Ipv4Net, place: u32, what: &str) -> Result<Ipv4Addr, DescriptionError> {
    u32::from(network.network())
        .checked_add(place)
        .map(Ipv4Addr::from)
        .filter(|address| *address < network.broadcast())
        .ok_or_else(|| DescriptionError::TooSmall {
            network,
            what: what.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::Subnets;
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
                [gateway, api, dns].map(|text| text.parse::<Ipv4Addr>().unwrap())
            );
            for (node, (address, pod_cidr)) in description.nodes().iter().zip(expected) {
                assert_eq!(node.address.to_string(), address);
                assert_eq!(node.pod_cidr.to_string(), pod_cidr);
            }
        }
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
