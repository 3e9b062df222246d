//! Adding machines to a running network, and removing them.

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

use super::network::{
    BRIDGE, add_routes, add_veth_pair, configure, configure_machine, find_link, inside, route_message,
};
use super::{Endpoint, NetNs, Network};
use crate::error::{Error, failed};

impl Network {
    /// Adds a namespace for `endpoint`, which becomes the last one, with its veth pair, and routes to its pods in all other
    /// namespaces.
    ///
    /// # Errors
    /// The first step that failed; everything is removed as far as possible.
    pub(crate) fn plug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let name = &endpoint.name;
        if self.endpoint(name).is_some() {
            return Err(Error::message(format!("`{name}` is on the network already")));
        }
        let outcome = self.try_plug(endpoint);
        if outcome.is_err()
            && let Err(error) = self.unplug(endpoint)
        {
            tracing::warn!(name = endpoint.name, %error, "could not remove a machine from the network");
        }
        outcome
    }

    fn try_plug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let machine = NetNs::create().map_err(failed("create a network namespace"))?;
        inside(&self.cluster, async |netlink| {
            let bridge = find_link(&netlink, BRIDGE).await?;
            add_veth_pair(&netlink, bridge, &endpoint.name, &machine).await?;
            add_routes(&netlink, endpoint).await
        })?;
        configure(&machine, &self.gateways, async |netlink| {
            configure_machine(&netlink, endpoint, &self.gateways, &self.endpoints).await
        })?;
        for other in &self.machines {
            inside(other, async |netlink| add_routes(&netlink, endpoint).await)?;
        }
        self.machines.push(machine);
        self.endpoints.push(endpoint.clone());
        Ok(())
    }

    /// Removes `endpoint` with its routes. What does not exist counts as removed.
    ///
    /// # Errors
    /// The first step that failed; all are tried.
    pub(crate) fn unplug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        if let Some(index) = self
            .endpoints
            .iter()
            .position(|known| known.name == endpoint.name)
        {
            self.endpoints.remove(index);
            self.machines.remove(index);
        }
        let mut outcome = inside(&self.cluster, async |netlink| {
            let removed = remove_routes(&netlink, endpoint).await;
            removed.and(remove_veth_pair(&netlink, &endpoint.name).await)
        });
        for other in &self.machines {
            let removed = inside(other, async |netlink| remove_routes(&netlink, endpoint).await);
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// The endpoint of the machine `name`.
    pub(crate) fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }
}

async fn remove_veth_pair(netlink: &Handle, name: &str) -> Result<(), Error> {
    let Ok(link) = find_link(netlink, name).await else {
        return Ok(());
    };
    let removed = netlink.link().del(link).execute().await;
    removed.map_err(failed(format!("remove the veth pair of `{name}`")))
}

/// Removes the routes to the pods of `endpoint`, and its neighbour entries: the next machine with its addresses has
/// another hardware address.
async fn remove_routes(netlink: &Handle, endpoint: &Endpoint) -> Result<(), Error> {
    let mut outcome = Ok(());
    for (network, via) in endpoint.routes() {
        let act = format!("remove the route to {network}");
        let message = route_message(network, via)?;
        let removed = ignore_absent(netlink.route().del(message).execute().await);
        outcome = outcome.and(removed.map_err(failed(act)));
    }
    for own in endpoint.addresses() {
        outcome = outcome.and(remove_neighbour(netlink, own.addr()).await);
    }
    outcome
}

async fn remove_neighbour(netlink: &Handle, address: IpAddr) -> Result<(), Error> {
    let act = || failed(format!("remove the neighbour entry of {address}"));
    let wanted = NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    });
    let mut all = netlink.neighbours().get().execute();
    while let Some(neighbour) = all.try_next().await.map_err(act())? {
        if neighbour.attributes.contains(&wanted) {
            ignore_absent(netlink.neighbours().del(neighbour).execute().await).map_err(act())?;
        }
    }
    Ok(())
}

/// The kernel answers ESRCH for a missing route, ENOENT for a missing neighbour.
fn ignore_absent(outcome: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match outcome {
        Err(rtnetlink::Error::NetlinkError(error))
            if [-libc::ESRCH, -libc::ENOENT].contains(&error.raw_code()) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::UdpSocket;
    use std::time::Duration;

    use crate::net::{Endpoint, NetNs, Network};

    fn endpoint(number: u8) -> Endpoint {
        Endpoint {
            name: format!("node{number:02}"),
            address: format!("10.89.0.{}/24", 10 + number).parse().unwrap(),
            second_address: Some(format!("fd00:10:89::{}/64", 10 + number).parse().unwrap()),
            pod_networks: [
                format!("10.244.{number}.0/24"),
                format!("fd00:10:244:{number}::/64"),
            ]
            .map(|network| network.parse().unwrap())
            .into(),
        }
    }

    /// Sends a datagram from one namespace to an address of another, and returns what arrived.
    fn send(from: &NetNs, to: &NetNs, address: &str) -> io::Result<String> {
        // Of both families (net.ipv6.bindv6only is 0). Any port: a child that a parallel test has just forked keeps the last
        // listener open until it executes its program.
        let listener = to.run(|| UdpSocket::bind("[::]:0"))?;
        let port = listener.local_addr()?.port();
        listener.set_read_timeout(Some(Duration::from_secs(5)))?;
        let any = if address.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        from.run(|| UdpSocket::bind(any))?
            .send_to(b"hello", (address, port))?;
        let mut buffer = [0; 16];
        let length = listener.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The destinations of the routes in a namespace, as the kernel prints them; in IPv6 of those with a gateway.
    fn routes(namespace: &NetNs) -> Vec<String> {
        let read = |file: &str| {
            let path = format!("/proc/thread-self/net/{file}");
            namespace.run(|| std::fs::read_to_string(path)).unwrap()
        };
        let (ipv4, ipv6) = (read("route"), read("ipv6_route"));
        let ipv4 = ipv4
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(1));
        let ipv6 = ipv6.lines().filter(|line| {
            let gateway = line.split_whitespace().nth(4).unwrap();
            gateway.contains(|digit| digit != '0')
        });
        let ipv6 = ipv6.filter_map(|line| line.split_whitespace().next());
        let mut found: Vec<String> = ipv4.chain(ipv6).map(str::to_owned).collect();
        found.sort();
        found
    }

    #[test]
    fn machine_is_added_and_removed_while_others_communicate() {
        let gateways = ["10.89.0.1/24", "fd00:10:89::1/64"].map(|gateway| gateway.parse().unwrap());
        let mut network = Network::create(&gateways, &[endpoint(1), endpoint(2)]).unwrap();
        let before: Vec<_> = network.machines.iter().map(routes).collect();
        let gateways = routes(&network.cluster);
        // Twice: the second has the address of the first, but another hardware address.
        for _ in 0..2 {
            network.plug(&endpoint(3)).unwrap();
            let [one, _, three] = &network.machines[..] else {
                panic!("not three machines")
            };
            for (new, old) in [("10.89.0.13", "10.89.0.11"), ("fd00:10:89::13", "fd00:10:89::11")] {
                assert_eq!(send(one, three, new).unwrap(), "hello");
                assert_eq!(send(three, one, old).unwrap(), "hello");
            }
            // Routes lead to its pods, and from it to those of the others.
            let pods = |number: u8| {
                [
                    format!("000{number}F40A"),
                    format!("fd0000100244000{number}0000000000000000"),
                ]
            };
            let knows = |namespace: &NetNs, number: u8| {
                let routes = routes(namespace);
                pods(number).iter().all(|route| routes.contains(route))
            };
            assert!(knows(one, 3) && knows(&network.cluster, 3));
            assert!(knows(three, 1) && knows(three, 2));
            // A second machine of the same name is rejected, and the first keeps working.
            network.plug(&endpoint(3)).unwrap_err();
            assert_eq!(
                send(&network.machines[0], &network.machines[2], "10.89.0.13").unwrap(),
                "hello"
            );
            network.unplug(&endpoint(3)).unwrap();
            assert_eq!(network.machines.iter().map(routes).collect::<Vec<_>>(), before);
            assert_eq!(routes(&network.cluster), gateways);
            assert!(network.endpoint("node03").is_none());
        }
        // Removing it again succeeds.
        network.unplug(&endpoint(3)).unwrap();
        assert_eq!(
            send(&network.machines[0], &network.machines[1], "10.89.0.12").unwrap(),
            "hello"
        );
    }
}
