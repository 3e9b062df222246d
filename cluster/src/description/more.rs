//! More nodes than a cluster was baked with, by the rules of its bake.

use ipnet::IpNet;

use super::{Description, DescriptionError, Family, Node, Place, Role, overlap};
use crate::addressing::{FIRST_NODE, host, node_pods};
use crate::name::NodeName;

impl Description {
    /// The baked cluster with `count` nodes: its first ones, or all of them and workers that are to join.
    ///
    /// # Errors
    /// [`DescriptionError::Count`] when a control plane would be left out, [`DescriptionError::TooSmall`] when a network
    /// has no room for so many.
    pub fn sized(&self, count: usize) -> Result<Self, DescriptionError> {
        let baked = self.nodes.len();
        if count <= baked {
            return self.with_nodes(count);
        }
        let more = self.more(count - baked, self)?;
        self.with([self.nodes.as_slice(), &more].concat())
    }

    /// `count` workers that could join the cluster, which was baked as `baked`. Their numbers go on after those of the
    /// bake, whether its nodes run or not, so that no name means both a baked node and another; numbers that were given
    /// back are used again. The `n`th node has the place of the `n`th in the nodes' network, as in
    /// [`Subnets`](crate::Subnets), and the first part of the pods' network that is free.
    ///
    /// # Errors
    /// [`DescriptionError::TooSmall`] when a network has no room for so many.
    pub fn more(&self, count: usize, baked: &Self) -> Result<Vec<Node>, DescriptionError> {
        let networks = &self.networks;
        let mut taken: Vec<Node> = self.nodes.iter().chain(&baked.nodes).cloned().collect();
        let mut found = Vec::new();
        for (number, place) in (1..).zip(FIRST_NODE..) {
            if found.len() == count {
                break;
            }
            let name = NodeName::numbered(number);
            let what = format!("node `{name}`");
            if number <= baked.nodes.len() || taken.iter().any(|node| node.name == name) {
                continue;
            }
            let places = networks
                .families()
                .map(|family| free(&family, place, &what, &taken))
                .collect::<Result<Vec<_>, _>>()?;
            let places: Option<Vec<Place>> = places.into_iter().collect();
            let Some(node) = places.and_then(|places| Node::at(name, Role::Worker, &places)) else {
                continue;
            };
            taken.push(node.clone());
            found.push(node);
        }
        Ok(found)
    }

    /// The nodes that `baked` does not have: they joined, or are to join.
    pub fn joined<'a>(&'a self, baked: &'a Self) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(|node| baked.node(&node.name).is_none())
    }
}

/// The `place` of the node `what` in a family of addresses; nothing where its address is somebody else's.
fn free(family: &Family, place: u32, what: &str, taken: &[Node]) -> Result<Option<Place>, DescriptionError> {
    let address = host(family.nodes, place, what)?;
    if address == family.gateway
        || taken
            .iter()
            .flat_map(Node::addresses)
            .any(|other| other == address)
    {
        return Ok(None);
    }
    let too_small = || DescriptionError::TooSmall {
        network: family.pods,
        what: format!("the pods of {what}"),
    };
    let mut parts = node_pods(family.pods).map_err(|_| too_small())?;
    let used = |part: &IpNet| {
        taken
            .iter()
            .flat_map(Node::pod_cidrs)
            .any(|other| overlap(&other, part))
    };
    let pod_cidr = parts.find(|part| !used(part)).ok_or_else(too_small)?;
    Ok(Some(Place { address, pod_cidr }))
}

#[cfg(test)]
mod tests {
    use crate::addressing::Subnets;
    use crate::description::{Description, Node, Role};
    use crate::name::{ClusterDomain, NodeName};

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
    fn more_nodes_are_those_that_a_larger_bake_would_have() {
        let three = baked("10.89.0.0/24", "10.244.0.0/16", 3);
        let five = baked("10.89.0.0/24", "10.244.0.0/16", 5);
        assert_eq!(three.sized(5).unwrap(), five);
        assert_eq!(three.sized(3).unwrap(), three);
        assert_eq!(three.sized(1).unwrap().nodes(), &three.nodes()[..1]);
        assert!(three.sized(0).is_err());
        let joined: Vec<_> = five.joined(&three).collect();
        assert_eq!(joined, [&five.nodes()[3], &five.nodes()[4]]);
    }

    #[test]
    fn the_names_of_baked_nodes_are_not_used_again_and_others_are() {
        let three = baked("10.89.0.0/24", "10.244.0.0/16", 3);
        let one = three.with_nodes(1).unwrap();
        let fourth = "node04 10.89.0.14 10.244.3.0/24";
        let fifth = "node05 10.89.0.15 10.244.4.0/24";
        assert_eq!(shown(&one.more(2, &three).unwrap()), [fourth, fifth]);
        let mut nodes = three.sized(5).unwrap().nodes().to_vec();
        nodes.remove(3);
        let gap = three.with(nodes).unwrap();
        let sixth = "node06 10.89.0.16 10.244.5.0/24";
        assert_eq!(shown(&gap.more(2, &three).unwrap()), [fourth, sixth]);
    }

    #[test]
    fn pods_get_what_the_bake_left_free() {
        // Now and then a control plane leaves a part out.
        let two = baked("10.89.0.0/24", "10.244.0.0/16", 2);
        let mut nodes = two.nodes().to_vec();
        nodes[1].pod_cidr = "10.244.2.0/24".parse().unwrap();
        let two = two.with(nodes).unwrap();
        let more = two.more(2, &two).unwrap();
        assert_eq!(
            shown(&more),
            [
                "node03 10.89.0.13 10.244.1.0/24",
                "node04 10.89.0.14 10.244.3.0/24"
            ]
        );
    }

    #[test]
    fn a_network_has_room_for_so_many() {
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
            let outcome = baked(nodes, pods, 3).sized(count);
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
