//! `[network]` of a provider file, and the IP stack that a bake can select.
//!
//! Nodes, pods and services each have an IPv4 network, an IPv6 network, or a list of both, all three with the same families.
//! The first family of a list is the primary one.

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parbake_cluster::toml_document::{Document, Parsed, ValuePath};
use parbake_cluster::{IpFamilies, Subnets};
use serde::de::value::StrDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The networks of an IPv4 cluster whose provider has none.
const IPV4: Subnets = Subnets {
    nodes: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 89, 0, 0), 24)),
    pods: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16)),
    services: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12)),
};
/// The networks of an IPv6 cluster whose provider has none.
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
/// Locally assigned addresses (RFC 4193, section 3.1, with L = 1).
const LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);
/// The controller manager allocates a /64 per node, from a network with at most 2^16 of them.
const POD_PREFIXES: RangeInclusive<u8> = 48..=64;
/// The API server accepts no larger network for services.
const SERVICE_PREFIXES: RangeInclusive<u8> = 108..=123;
const FIELDS: [&str; 3] = ["nodes", "pods", "services"];

/// The IP families of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpStack {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, with the provider's primary family first, or IPv4.
    Dual,
}

/// A text that is not an [`IpStack`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP stack; use `ipv4`, `ipv6` or `dual`")]
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
    /// The networks of this stack: those of the provider, or default ones for a family that the provider lacks.
    #[must_use]
    pub fn networks(self, own: IpFamilies) -> IpFamilies {
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

/// The table `[network]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkTable {
    nodes: Option<OneOrMore<IpNet>>,
    pods: Option<OneOrMore<IpNet>>,
    services: Option<OneOrMore<IpNet>>,
}

impl NetworkTable {
    /// Validates the networks; problems are reported.
    pub(super) fn families(self, document: &mut Document<'_>) -> Option<IpFamilies> {
        let nodes = document.require(["network", "nodes"], self.nodes);
        let pods = document.require(["network", "pods"], self.pods);
        let services = document.require(["network", "services"], self.services);
        let networks = [nodes?.0, pods?.0, services?.0];
        for (index, (field, list)) in FIELDS.iter().zip(&networks).enumerate() {
            for (position, network) in list.iter().enumerate() {
                let others = FIELDS.iter().zip(&networks[..index]);
                let others = others.flat_map(|(field, list)| list.iter().map(move |other| (*field, other)));
                for problem in problems(field, network, others) {
                    let message = format!("`network.{field}`: `{network}` {problem}");
                    document.report(&ValuePath::of(["network", *field]).index(position), message);
                }
            }
        }
        let families = networks
            .each_ref()
            .map(|list| list.iter().map(is_ipv6).collect::<Vec<_>>());
        let [first, pods, services] = &families;
        let equal = first == pods && first == services;
        if !equal || !matches!(first[..], [_] | [false, true] | [true, false]) {
            let message = "`network`: `nodes`, `pods` and `services` must have the same families, in the same order: \
                           IPv4, IPv6, or a list of one network of each";
            document.report(&ValuePath::of(["network"]), message);
            return None;
        }
        let subnets = |index: usize| {
            let [nodes, pods, services] = networks.each_ref().map(|list| list.get(index).copied());
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
    }
}

/// A value that is parsed from a string, or a list of such values.
struct OneOrMore<T>(Vec<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMoreVisitor(PhantomData))
    }
}

struct OneOrMoreVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for OneOrMoreVisitor<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let value = Parsed::deserialize(StrDeserializer::new(text))?;
        Ok(OneOrMore(vec![value.0]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Parsed(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(OneOrMore(values))
    }
}

/// The problems of the network in `field`, as predicates.
fn problems<'a>(
    field: &str,
    network: &IpNet,
    others: impl Iterator<Item = (&'a str, &'a IpNet)>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if network.addr() != network.network() {
        problems.push(format!("has host bits set; write `{}`", network.trunc()));
    }
    match network {
        IpNet::V4(own) if !(own.network().is_private() && own.broadcast().is_private()) => {
            problems.push("is not a private network (RFC 1918)".to_owned());
        }
        IpNet::V6(own) if !LOCAL.contains(own) => {
            problems.push(format!("is not a local network in `{LOCAL}` (RFC 4193)"));
        }
        IpNet::V6(own) => problems.extend(wrong_size(field, own.prefix_len())),
        IpNet::V4(_) => {}
    }
    let overlaps = others.filter(|(_, other)| network.contains(*other) || other.contains(network));
    problems.extend(overlaps.map(|(field, other)| format!("overlaps `network.{field}`, `{other}`")));
    problems
}

fn wrong_size(field: &str, prefix: u8) -> Option<String> {
    let allowed = match field {
        "pods" => POD_PREFIXES,
        "services" => SERVICE_PREFIXES,
        _ => return None,
    };
    let (largest, smallest) = (allowed.start(), allowed.end());
    (!allowed.contains(&prefix))
        .then(|| format!("must be from /{largest} to /{smallest}, as Kubernetes requires"))
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
    fn stack_prefers_networks_of_the_provider() {
        let mut own = IPV6;
        own.nodes = "fd00:7::/64".parse().unwrap();
        let single = |first| IpFamilies { first, second: None };
        let dual = |first, second| IpFamilies {
            first,
            second: Some(second),
        };
        for (stack, has, expected) in [
            ("ipv4", single(IPV4), single(IPV4)),
            ("ipv6", single(IPV4), single(IPV6)),
            ("dual", single(IPV4), dual(IPV4, IPV6)),
            ("dual", single(own), dual(IPV4, own)),
            ("dual", dual(own, IPV4), dual(own, IPV4)),
            ("ipv6", dual(IPV4, own), single(own)),
            ("ipv4", dual(own, IPV4), single(IPV4)),
        ] {
            let stack: IpStack = stack.parse().unwrap();
            assert_eq!(stack.networks(has), expected, "{stack} of {has:?}");
        }
        assert!("IPv4".parse::<IpStack>().is_err());
    }
}
