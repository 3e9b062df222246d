//! `[network]` of a provider file, and the stacks that a bake may be asked for.
//!
//! Nodes, pods and services have a network of IPv4, one of IPv6, or a list of both; all three alike. The first of a list is
//! the family that everything has its address in.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parbake_cluster::diagnostics::Collector;
use parbake_cluster::{IpFamilies, Subnets};

use super::document::{At, Fields};

/// What nodes, pods and services have where a provider says nothing of IPv4.
const IPV4: Subnets = Subnets {
    nodes: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 89, 0, 0), 24)),
    pods: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16)),
    services: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12)),
};
/// What they have where it says nothing of IPv6.
const IPV6: Subnets = Subnets {
    nodes: IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0x10, 0x89, 0, 0, 0, 0, 0),
        64,
    )),
    pods: IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0),
        56,
    )),
    services: IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0),
        112,
    )),
};
/// Local addresses that everybody chooses for himself (RFC 4193, section 3.1, with L = 1).
const LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);
/// The controller manager hands out the /64s of a network of at most 2^16 of them.
const PODS: RangeInclusive<u8> = 48..=64;
/// The API server takes no larger network of services.
const SERVICES: RangeInclusive<u8> = 108..=123;
const FIELDS: [&str; 3] = ["nodes", "pods", "services"];

/// Which families of addresses a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpStack {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both; the first is the provider's own, or IPv4.
    Dual,
}

/// A text that is no [`IpStack`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stack; there are `ipv4`, `ipv6` and `dual`")]
pub struct InvalidIpStack(String);

impl FromStr for IpStack {
    type Err = InvalidIpStack;

    fn from_str(text: &str) -> Result<Self, InvalidIpStack> {
        match text {
            "ipv4" => Ok(Self::Ipv4),
            "ipv6" => Ok(Self::Ipv6),
            "dual" => Ok(Self::Dual),
            _ => Err(InvalidIpStack(text.to_owned())),
        }
    }
}

impl IpStack {
    /// The networks of this stack: the provider's own where it has some, and usual ones where it has none.
    #[must_use]
    pub fn of(self, own: IpFamilies) -> IpFamilies {
        let all = || std::iter::once(own.first).chain(own.second);
        let ipv4 = all().find(|subnets| !is_ipv6(&subnets.nodes)).unwrap_or(IPV4);
        let ipv6 = all().find(|subnets| is_ipv6(&subnets.nodes)).unwrap_or(IPV6);
        let (first, second) = match self {
            Self::Ipv4 => (ipv4, None),
            Self::Ipv6 => (ipv6, None),
            Self::Dual if is_ipv6(&own.first.nodes) && own.second.is_some() => (ipv6, Some(ipv4)),
            Self::Dual => (ipv4, Some(ipv6)),
        };
        IpFamilies { first, second }
    }
}

fn is_ipv6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

/// What is read of `[network]`.
pub(super) fn read(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<IpFamilies> {
    let span = fields.span().clone();
    let networks = FIELDS.map(|name| fields.one_or_more::<IpNet>(problems, name));
    fields.finish(problems);
    let [nodes, pods, services] = networks;
    let networks = [nodes?, pods?, services?];
    let mut sound = true;
    for (index, (name, own)) in FIELDS.iter().zip(&networks).enumerate() {
        for (network, span) in own {
            let before = FIELDS.iter().zip(&networks[..index]);
            let others =
                before.flat_map(|(name, others)| others.iter().map(move |(other, _)| (*name, other)));
            for problem in wrong(name, network, others) {
                problems.add(span, format!("`network.{name}`: `{network}` {problem}"));
                sound = false;
            }
        }
    }
    let families = networks.each_ref().map(|all| families(all));
    let [first, pods, services] = &families;
    let alike = first == pods && first == services;
    if !alike || !matches!(first[..], [_] | [false, true] | [true, false]) {
        let message = "`network`: `nodes`, `pods` and `services` must have the same families, in the same order: \
                       IPv4, IPv6, or a list of one network of each";
        problems.add(&span, message);
        return None;
    }
    let subnets = |index: usize| {
        let [nodes, pods, services] = networks.each_ref().map(|all| all.get(index).map(|(net, _)| *net));
        Some(Subnets {
            nodes: nodes?,
            pods: pods?,
            services: services?,
        })
    };
    Some(IpFamilies {
        first: subnets(0)?,
        second: subnets(1),
    })
    .filter(|_| sound)
}

/// Of each network whether it is of IPv6.
fn families(networks: &[At<IpNet>]) -> Vec<bool> {
    networks.iter().map(|(network, _)| is_ipv6(network)).collect()
}

/// All that is wrong with the network `name`, in the words that follow it.
fn wrong<'a>(name: &str, network: &IpNet, others: impl Iterator<Item = (&'a str, &'a IpNet)>) -> Vec<String> {
    let mut problems = Vec::new();
    if network.addr() != network.network() {
        problems.push(format!("has host bits set; write `{}`", network.trunc()));
    }
    match network {
        IpNet::V4(own) if !(own.network().is_private() && own.broadcast().is_private()) => {
            problems.push("is not a private network (RFC 1918)".to_owned());
        }
        IpNet::V6(own) if !LOCAL.contains(own) => {
            problems.push(format!("is not a local network, one in `{LOCAL}` (RFC 4193)"));
        }
        IpNet::V6(own) => problems.extend(size(name, own.prefix_len())),
        IpNet::V4(_) => {}
    }
    let overlaps = others.filter(|(_, other)| network.contains(*other) || other.contains(network));
    problems.extend(overlaps.map(|(name, other)| format!("overlaps `network.{name}`, `{other}`")));
    problems
}

/// What is wrong with the size of a network of IPv6.
fn size(name: &str, prefix: u8) -> Option<String> {
    let allowed = match name {
        "pods" => PODS,
        "services" => SERVICES,
        _ => return None,
    };
    let range = (!allowed.contains(&prefix)).then(|| (allowed.start().to_owned(), allowed.end().to_owned()));
    range.map(|(largest, smallest)| format!("is not of /{largest} to /{smallest}, as Kubernetes needs it"))
}

impl fmt::Display for IpStack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Dual => "dual",
        })
    }
}

#[cfg(test)]
mod tests {
    use parbake_cluster::IpFamilies;

    use super::{IPV4, IPV6, IpStack};

    #[test]
    fn a_stack_is_of_the_providers_networks_where_it_has_some() {
        let mut own = IPV6;
        own.nodes = "fd00:7::/64".parse().unwrap();
        let alone = |first| IpFamilies { first, second: None };
        let both = |first, second| IpFamilies {
            first,
            second: Some(second),
        };
        for (stack, has, expected) in [
            ("ipv4", alone(IPV4), alone(IPV4)),
            ("ipv6", alone(IPV4), alone(IPV6)),
            ("dual", alone(IPV4), both(IPV4, IPV6)),
            ("dual", alone(own), both(IPV4, own)),
            ("dual", both(own, IPV4), both(own, IPV4)),
            ("ipv6", both(IPV4, own), alone(own)),
            ("ipv4", both(own, IPV4), alone(IPV4)),
        ] {
            let stack: IpStack = stack.parse().unwrap();
            assert_eq!(stack.of(has), expected, "{stack} of {has:?}");
        }
        assert!("IPv4".parse::<IpStack>().is_err());
    }
}
