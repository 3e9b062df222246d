//! The networks that a namespace reaches.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::NetNs;
use super::network::inside;
use crate::error::{Error, failed};

impl NetNs {
    /// The IPv4 networks and own addresses that the namespace has a route to, without the default route, loopback, and the
    /// link-local and multicast networks. Sorted.
    ///
    /// # Errors
    /// See netlink(7).
    pub fn reachable(&self) -> Result<Vec<Ipv4Net>, Error> {
        let mut networks = Vec::new();
        inside(self, async |netlink| {
            let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
            let routes: Vec<RouteMessage> = netlink
                .route()
                .get(all)
                .execute()
                .try_collect()
                .await
                .map_err(|error| failed("list the host's routes")(std::io::Error::other(error)))?;
            networks = routes.iter().filter_map(destination).collect();
            Ok(())
        })?;
        networks.sort_unstable();
        networks.dedup();
        Ok(networks)
    }
}

fn destination(route: &RouteMessage) -> Option<Ipv4Net> {
    if !matches!(route.header.kind, RouteType::Unicast | RouteType::Local) {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })?;
    let ordinary = !address.is_loopback() && !address.is_link_local() && !address.is_multicast();
    let network = Ipv4Net::new(address, route.header.destination_prefix_length).ok()?;
    (ordinary && network.prefix_len() > 0).then_some(network)
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::net::NetNs;
    use crate::process::Cmd;

    #[test]
    fn addresses_and_routes_are_found() {
        let namespace = NetNs::create().unwrap();
        namespace
            .run(|| {
                for words in [
                    ["link", "set", "lo", "up"].as_slice(),
                    &["address", "add", "10.1.2.3/24", "dev", "lo"],
                    &["route", "add", "10.96.0.0/16", "via", "10.1.2.3"],
                    &["route", "add", "default", "via", "10.1.2.3"],
                ] {
                    Cmd::new("ip").args(words).run().map_err(io::Error::other)?;
                }
                Ok(())
            })
            .unwrap();
        let found: Vec<String> = namespace
            .reachable()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        for network in ["10.1.2.3/32", "10.96.0.0/16"] {
            assert!(found.contains(&network.to_owned()), "{found:?}");
        }
        assert!(
            !found.iter().any(|network| network.starts_with("127.")),
            "{found:?}"
        );
    }
}
