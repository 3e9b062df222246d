//! Ports of the host that are forwarded to nodes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use parbake_cluster::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::InvalidValue;

/// A TCP port of this host that is forwarded to a port of a node: one that a program listens on there, or a service's
/// NodePort, which is the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// The address of this host to listen on: 127.0.0.1 by default, 0.0.0.0 for all.
    #[serde(default = "default_address", skip_serializing_if = "is_default_address")]
    #[schemars(with = "String", extend("format" = "ip"))]
    pub listen: IpAddr,
    /// The port of this host.
    pub host: NonZeroU16,
    /// The node; the first one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub node: Option<NodeName>,
    /// The port of the node.
    pub port: NonZeroU16,
}

const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn default_address() -> IpAddr {
    DEFAULT_ADDRESS
}

fn is_default_address(address: &IpAddr) -> bool {
    *address == DEFAULT_ADDRESS
}

impl Port {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.host.get())
    }

    /// True if the host cannot listen on both.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        let all = self.listen.is_unspecified() || other.listen.is_unspecified();
        self.host == other.host && (all || self.listen == other.listen)
    }
}

/// The value of `--publish`: `[ADDRESS:]HOST:[NODE:]PORT`, with an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishFlag(pub Port);

impl FromStr for PublishFlag {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse(text).map(Self).ok_or_else(|| {
            InvalidValue(format!(
                "`{text}` is not a port mapping, such as 8080:30080, 0.0.0.0:8080:30080 with an address of the host, or \
                 8080:node02:30080 with a node"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Port> {
    let (rest, port) = text.rsplit_once(':')?;
    let (rest, node) = match rest.rsplit_once(':') {
        // A node may be named like a number, but the part before the last is more likely a port.
        Some((before, last)) if last.parse::<u16>().is_err() => (before, Some(last.parse().ok()?)),
        _ => (rest, None),
    };
    let (listen, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (parse_address(address)?, host),
        None => (DEFAULT_ADDRESS, rest),
    };
    Some(Port {
        listen,
        host: parse_port(host)?,
        node,
        port: parse_port(port)?,
    })
}

fn parse_address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    }
}

/// Rejects a leading `+`, which `u16` accepts.
fn parse_port(text: &str) -> Option<NonZeroU16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::{Port, PublishFlag};

    #[test]
    fn flags_are_host_node_and_port() {
        let port = |listen: &str, host: u16, node: Option<&str>, port: u16| Port {
            listen: listen.parse().unwrap(),
            host: host.try_into().unwrap(),
            node: node.map(|node| node.parse().unwrap()),
            port: port.try_into().unwrap(),
        };
        for (text, expected) in [
            ("8080:30080", port("127.0.0.1", 8080, None, 30080)),
            ("0.0.0.0:80:30080", port("0.0.0.0", 80, None, 30080)),
            ("80:node02:30080", port("127.0.0.1", 80, Some("node02"), 30080)),
            (
                "10.0.0.1:80:node02:30080",
                port("10.0.0.1", 80, Some("node02"), 30080),
            ),
            ("[::1]:80:30080", port("::1", 80, None, 30080)),
        ] {
            assert_eq!(text.parse::<PublishFlag>().unwrap().0, expected, "{text}");
        }
        for text in [
            "",
            "80",
            "0:80",
            "80:0",
            "80:70000",
            "a:80",
            "80:Node:80",
            "::1:80:80",
            "+80:80",
            "1.2.3.4:80",
        ] {
            assert!(text.parse::<PublishFlag>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_unspecified_address_collides_with_every_other() {
        let ports = ["80:1", "0.0.0.0:80:2", "10.0.0.1:80:3", "81:1"];
        let [local, all, other, other_port] = ports.map(|text| text.parse::<PublishFlag>().unwrap().0);
        assert!(local.collides(&all) && all.collides(&other) && local.collides(&local));
        assert!(!local.collides(&other) && !local.collides(&other_port));
    }
}
