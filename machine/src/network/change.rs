//! A machine that is plugged into a network that is at work, or taken off it.

use std::io;
use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

use super::{
    BRIDGE, Endpoint, Error, Network, cable, configure, failed, index, inside, machine_side, route_message,
    routes,
};
use crate::netns::NetNs;

impl Network {
    /// Makes a namespace for `endpoint`, which comes last then: its cable, and the routes to its pods in the gateway and
    /// in all machines.
    ///
    /// # Errors
    /// The first step that failed; nothing is left of it then, as far as it could be removed.
    pub(crate) fn plug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let name = &endpoint.name;
        if self.endpoint(name).is_some() {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(failed(format!("make the cable of `{name}`"))(taken));
        }
        let outcome = self.try_plug(endpoint);
        if outcome.is_err()
            && let Err(error) = self.unplug(endpoint)
        {
            tracing::warn!(name = endpoint.name, %error, "could not take a machine off the network");
        }
        outcome
    }

    fn try_plug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let machine = NetNs::create().map_err(failed("make a network namespace"))?;
        inside(&self.cluster, async |netlink| {
            let bridge = index(&netlink, BRIDGE).await?;
            cable(&netlink, bridge, &endpoint.name, &machine).await?;
            routes(&netlink, endpoint).await
        })?;
        configure(&machine, &self.gateways, async |netlink| {
            machine_side(&netlink, endpoint, &self.gateways, &self.endpoints).await
        })?;
        for other in &self.machines {
            inside(other, async |netlink| routes(&netlink, endpoint).await)?;
        }
        self.machines.push(machine);
        self.endpoints.push(endpoint.clone());
        Ok(())
    }

    /// Takes `endpoint` off the network, with all that leads there. What is not there counts as removed.
    ///
    /// # Errors
    /// The first step that failed; all are tried.
    pub(crate) fn unplug(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        if let Some(place) = self
            .endpoints
            .iter()
            .position(|known| known.name == endpoint.name)
        {
            self.endpoints.remove(place);
            self.machines.remove(place);
        }
        let mut outcome = inside(&self.cluster, async |netlink| {
            let forgotten = forget(&netlink, endpoint).await;
            forgotten.and(pull(&netlink, &endpoint.name).await)
        });
        for other in &self.machines {
            let forgotten = inside(other, async |netlink| forget(&netlink, endpoint).await);
            outcome = outcome.and(forgotten);
        }
        outcome
    }

    /// The place of the machine `name`.
    pub(crate) fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }
}

/// Removes the cable of `name`, both ends of it.
async fn pull(netlink: &Handle, name: &str) -> Result<(), Error> {
    let Ok(link) = index(netlink, name).await else {
        return Ok(());
    };
    let pulled = netlink.link().del(link).execute().await;
    pulled.map_err(failed(format!("pull the cable of `{name}`")))
}

/// Removes the routes to what is behind `endpoint`, and what is remembered of the address: the next machine there has
/// another hardware address.
async fn forget(netlink: &Handle, endpoint: &Endpoint) -> Result<(), Error> {
    let mut outcome = Ok(());
    for (network, via) in endpoint.routes() {
        let act = format!("remove the route to {network}");
        let message = route_message(network, via)?;
        let removed = absent_is_fine(netlink.route().del(message).execute().await);
        outcome = outcome.and(removed.map_err(failed(act)));
    }
    for own in endpoint.addresses() {
        outcome = outcome.and(forget_neighbour(netlink, own.addr()).await);
    }
    outcome
}

async fn forget_neighbour(netlink: &Handle, address: IpAddr) -> Result<(), Error> {
    let act = || failed(format!("forget the hardware address of {address}"));
    let wanted = NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    });
    let mut all = netlink.neighbours().get().execute();
    while let Some(neighbour) = all.try_next().await.map_err(act())? {
        if neighbour.attributes.contains(&wanted) {
            absent_is_fine(netlink.neighbours().del(neighbour).execute().await).map_err(act())?;
        }
    }
    Ok(())
}

/// ESRCH is the kernel's answer for a route that is not there, ENOENT for a neighbour.
fn absent_is_fine(outcome: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match outcome {
        Err(rtnetlink::Error::NetlinkError(error))
            if [-nix::libc::ESRCH, -nix::libc::ENOENT].contains(&error.raw_code()) =>
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

    use crate::netns::NetNs;
    use crate::network::{Endpoint, Network};

    fn endpoint(number: u8) -> Endpoint {
        Endpoint {
            name: format!("node{number:02}"),
            address: format!("10.89.0.{}/24", 10 + number).parse().unwrap(),
            second: Some(format!("fd00:10:89::{}/64", 10 + number).parse().unwrap()),
            behind: [
                format!("10.244.{number}.0/24"),
                format!("fd00:10:244:{number}::/64"),
            ]
            .map(|network| network.parse().unwrap())
            .into(),
        }
    }

    /// Sends a word from one namespace to an address of another.
    fn say(from: &NetNs, to: &NetNs, address: &str) -> io::Result<String> {
        // Of both families (net.ipv6.bindv6only is 0). Any port: what a test beside this one has just forked holds the last
        // listener until it executes its program.
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

    /// The routes in a namespace, by destination in the kernel's own words; in IPv6 those with a gateway.
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
    fn a_machine_comes_and_goes_while_others_talk() {
        let gateways = ["10.89.0.1/24", "fd00:10:89::1/64"].map(|gateway| gateway.parse().unwrap());
        let mut network = Network::create(&gateways, &[endpoint(1), endpoint(2)]).unwrap();
        let before: Vec<_> = network.machines.iter().map(routes).collect();
        let gateways = routes(&network.cluster);
        // Twice: the second has the address of the first, and other hardware.
        for _ in 0..2 {
            network.plug(&endpoint(3)).unwrap();
            let [one, _, three] = &network.machines[..] else {
                panic!("not three machines")
            };
            for (its, others) in [("10.89.0.13", "10.89.0.11"), ("fd00:10:89::13", "fd00:10:89::11")] {
                assert_eq!(say(one, three, its).unwrap(), "hello");
                assert_eq!(say(three, one, others).unwrap(), "hello");
            }
            // Its pods are behind it, and those of the others are known to it.
            let behind = |number: u8| {
                [
                    format!("000{number}F40A"),
                    format!("fd0000100244000{number}0000000000000000"),
                ]
            };
            let knows = |namespace: &NetNs, number: u8| {
                let routes = routes(namespace);
                behind(number).iter().all(|route| routes.contains(route))
            };
            assert!(knows(one, 3) && knows(&network.cluster, 3));
            assert!(knows(three, 1) && knows(three, 2));
            // The name is taken, and the first is none the worse for it.
            network.plug(&endpoint(3)).unwrap_err();
            assert_eq!(
                say(&network.machines[0], &network.machines[2], "10.89.0.13").unwrap(),
                "hello"
            );
            network.unplug(&endpoint(3)).unwrap();
            assert_eq!(network.machines.iter().map(routes).collect::<Vec<_>>(), before);
            assert_eq!(routes(&network.cluster), gateways);
            assert!(network.endpoint("node03").is_none());
        }
        // What is gone can be removed again.
        network.unplug(&endpoint(3)).unwrap();
        assert_eq!(
            say(&network.machines[0], &network.machines[1], "10.89.0.12").unwrap(),
            "hello"
        );
    }
}
