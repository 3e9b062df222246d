//! More nodes than a cluster was baked with.

use ipnet::IpNet;

use super::addressing::{FIRST_NODE, host, node_pod_cidrs};
use super::description::{Description, DescriptionError, FamilyNetworks, Node, NodeAddresses, Role, overlap};
use super::name::NodeName;

impl Description {
    /// The baked cluster with `count` nodes: its first ones, or all of them and workers that are to join.
    ///
    /// # Errors
    /// [`DescriptionError::NodeCount`] when a control plane would be left out, [`DescriptionError::TooSmall`] when a
    /// network has no room.
    pub fn scaled_to(&self, count: usize) -> Result<Self, DescriptionError> {
        let baked = self.nodes().len();
        if count <= baked {
            return self.first_nodes(count);
        }
        let added = self.next_workers(count - baked, self)?;
        self.with_nodes([self.nodes(), &added].concat())
    }

    /// The next `count` workers that could join the cluster, which was baked as `baked`.
    ///
    /// Their numbers follow those of the bake, whether its nodes run or not, so that the name of a baked node is never
    /// reused; the numbers of other nodes are reused once they are free. The `n`th node has the `n`th address of the node
    /// network, as in [`Subnets`](crate::Subnets), and the first free part of the pod network.
    ///
    /// # Errors
    /// [`DescriptionError::TooSmall`] when a network has no room.
    pub fn next_workers(&self, count: usize, baked: &Self) -> Result<Vec<Node>, DescriptionError> {
        let mut taken: Vec<Node> = self.nodes().iter().chain(baked.nodes()).cloned().collect();
        let mut found = Vec::new();
        for (number, index) in (1..).zip(FIRST_NODE..) {
            if found.len() == count {
                break;
            }
            let name = NodeName::numbered(number);
            let is_taken = taken.iter().any(|node| node.name == name);
            if number <= baked.nodes().len() || is_taken {
                continue;
            }
            let addresses = self
                .networks()
                .families()
                .map(|family| free_addresses(&family, index, &name, &taken))
                .collect::<Result<Vec<_>, _>>()?;
            let addresses: Option<Vec<NodeAddresses>> = addresses.into_iter().collect();
            let node = addresses.and_then(|addresses| Node::with_addresses(name, Role::Worker, &addresses));
            if let Some(node) = node {
                taken.push(node.clone());
                found.push(node);
            }
        }
        Ok(found)
    }

    /// The nodes that are not in `baked`: they have joined, or are to join.
    pub fn joined_nodes<'a>(&'a self, baked: &'a Self) -> impl Iterator<Item = &'a Node> {
        self.nodes()
            .iter()
            .filter(|node| baked.node(&node.name).is_none())
    }
}

/// The addresses of a node in one IP family; `None` if the node address with that index is taken.
fn free_addresses(
    family: &FamilyNetworks,
    index: u32,
    name: &NodeName,
    taken: &[Node],
) -> Result<Option<NodeAddresses>, DescriptionError> {
    let owner = format!("node `{name}`");
    let address = host(family.nodes, index, &owner)?;
    let mut taken_addresses = taken.iter().flat_map(Node::addresses);
    if address == family.gateway || taken_addresses.any(|other| other == address) {
        return Ok(None);
    }
    let too_small = || DescriptionError::TooSmall {
        network: family.pods,
        what: format!("the pods of {owner}"),
    };
    let is_free = |part: &IpNet| {
        let mut others = taken.iter().flat_map(Node::pod_cidrs);
        !others.any(|other| overlap(&other, part))
    };
    let mut parts = node_pod_cidrs(family.pods).map_err(|_| too_small())?;
    let pod_cidr = parts.find(is_free).ok_or_else(too_small)?;
    Ok(Some(NodeAddresses { address, pod_cidr }))
}

#[cfg(test)]
mod tests {
    use crate::model::addressing::Subnets;
    use crate::model::description::{Description, Node, Role};
    use crate::model::name::{ClusterDomain, NodeName};

    fn baked(nodes: &str, pods: &str, count: usize) -> Description {
        let subnets = Subnets {
            nodes: nodes.parse().unwrap(),
            pods: pods.parse().unwrap(),
            services: "10.96.0.0/12".parse().unwrap(),
        };
        let role = |number| match number {
            1 => Role::ControlPlane,
            _ => Role::Worker,
        };
        let nodes: Vec<_> = (1..=count)
            .map(|number| (NodeName::numbered(number), role(number)))
            .collect();
        subnets
            .describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &nodes)
            .unwrap()
    }

    fn shown(nodes: &[Node]) -> Vec<String> {
        let show = |node: &Node| format!("{} {} {}", node.name, node.address, node.pod_cidr);
        nodes.iter().map(show).collect()
    }

    #[test]
    fn scaled_cluster_equals_a_larger_bake() {
        let three = baked("10.89.0.0/24", "10.244.0.0/16", 3);
        let five = baked("10.89.0.0/24", "10.244.0.0/16", 5);
        assert_eq!(three.scaled_to(5).unwrap(), five);
        assert_eq!(three.scaled_to(3).unwrap(), three);
        assert_eq!(three.scaled_to(1).unwrap().nodes(), &three.nodes()[..1]);
        assert!(three.scaled_to(0).is_err());
        let joined: Vec<_> = five.joined_nodes(&three).collect();
        assert_eq!(joined, [&five.nodes()[3], &five.nodes()[4]]);
    }

    #[test]
    fn names_of_baked_nodes_are_not_reused_and_others_are() {
        let three = baked("10.89.0.0/24", "10.244.0.0/16", 3);
        let one = three.first_nodes(1).unwrap();
        let fourth = "node04 10.89.0.14 10.244.3.0/24";
        let fifth = "node05 10.89.0.15 10.244.4.0/24";
        assert_eq!(shown(&one.next_workers(2, &three).unwrap()), [fourth, fifth]);
        let mut nodes = three.scaled_to(5).unwrap().nodes().to_vec();
        nodes.remove(3);
        let gap = three.with_nodes(nodes).unwrap();
        let sixth = "node06 10.89.0.16 10.244.5.0/24";
        assert_eq!(shown(&gap.next_workers(2, &three).unwrap()), [fourth, sixth]);
    }

    #[test]
    fn first_free_pod_network_is_used() {
        // The controller manager sometimes skips a part.
        let two = baked("10.89.0.0/24", "10.244.0.0/16", 2);
        let mut nodes = two.nodes().to_vec();
        nodes[1].pod_cidr = "10.244.2.0/24".parse().unwrap();
        let two = two.with_nodes(nodes).unwrap();
        let more = two.next_workers(2, &two).unwrap();
        assert_eq!(
            shown(&more),
            [
                "node03 10.89.0.13 10.244.1.0/24",
                "node04 10.89.0.14 10.244.3.0/24"
            ]
        );
    }

    #[test]
    fn full_networks_are_reported() {
        let cases = [
            ("10.89.0.0/24", "10.244.0.0/16", 244, None),
            (
                "10.89.0.0/24",
                "10.244.0.0/16",
                245,
                Some("`10.89.0.0/24` has no room for node `node245`"),
            ),
            (
                "10.89.0.0/24",
                "10.244.0.0/22",
                5,
                Some("`10.244.0.0/22` has no room for the pods of node `node05`"),
            ),
        ];
        for (nodes, pods, count, expected) in cases {
            let outcome = baked(nodes, pods, 3).scaled_to(count);
            match expected {
                None => assert_eq!(outcome.unwrap().nodes().len(), count),
                Some(text) => {
                    let error = outcome.unwrap_err().to_string();
                    assert!(error.contains(text), "{error}");
                }
            }
        }
    }
}
