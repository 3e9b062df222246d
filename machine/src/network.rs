//! A cluster's network: one namespace with a bridge, one veth pair for each machine, and no way out, unless one is asked
//! for ([`outside`]).
//!
//! ```text
//! cluster namespace              machine namespaces
//! parbake0 (bridge, gateway) --- node01 === eth0  10.89.0.11/24, default via the gateway
//!                            \-- node02 === eth0  10.89.0.12/24, routes to the other nodes' pods
//! ```
//!
//! The gateway forwards between machines' pods and refuses everything else at once: a packet that leaks is answered
//! by 'prohibited' (which, unlike 'unreachable', UDP sockets report too) instead of by silence that costs a time-out.

mod change;
pub mod outside;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};

use crate::netns::NetNs;

/// The name of the bridge in the cluster's namespace.
const BRIDGE: &str = "parbake0";
/// What comes after every other route (the metric of ip-route(8), less is better).
const LAST: u32 = u32::MAX;
/// The name of the interface in a machine's namespace.
const PORT: &str = "eth0";

/// A machine's place on the cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The machine's name; also that of its end of the cable in the cluster's namespace.
    pub name: String,
    /// Its address and the network's prefix length.
    pub address: Ipv4Net,
    /// Networks behind the machine: its pods.
    pub behind: Vec<Ipv4Net>,
}

/// A step of the network's set-up that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {act}")]
pub struct Error {
    act: String,
    #[source]
    source: io::Error,
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    act: impl Into<String>,
) -> impl FnOnce(E) -> Error {
    let act = act.into();
    move |source| Error {
        act,
        source: io::Error::other(source),
    }
}

/// A cluster's network, set up.
#[derive(Debug)]
pub struct Network {
    /// The namespace with the bridge and the gateway's address.
    pub cluster: NetNs,
    /// The machines' namespaces, in the order of their endpoints.
    pub machines: Vec<NetNs>,
    gateway: Ipv4Addr,
    endpoints: Vec<Endpoint>,
}

impl Network {
    /// Makes the namespaces, the bridge, the cables, the addresses and the routes. `gateway` is the bridge's own
    /// address with the network's prefix length.
    ///
    /// # Errors
    /// The first step that failed. Nothing is left then, since namespaces die with their descriptors.
    pub fn create(gateway: Ipv4Net, endpoints: &[Endpoint]) -> Result<Self, Error> {
        let namespace = || NetNs::create().map_err(failed("make a network namespace"));
        let cluster = namespace()?;
        let machines = endpoints
            .iter()
            .map(|_| namespace())
            .collect::<Result<Vec<_>, _>>()?;
        configure(&cluster, async |netlink| {
            gateway_side(&netlink, gateway, endpoints, &machines).await
        })?;
        for (endpoint, machine) in endpoints.iter().zip(&machines) {
            configure(machine, async |netlink| {
                machine_side(&netlink, endpoint, gateway.addr(), endpoints).await
            })?;
        }
        Ok(Self {
            cluster,
            machines,
            gateway: gateway.addr(),
            endpoints: endpoints.to_vec(),
        })
    }
}

/// Runs `act` with a netlink connection inside `namespace`, which is new: IPv6 off and forwarding on.
fn configure<A>(namespace: &NetNs, act: A) -> Result<(), Error>
where
    A: AsyncFnOnce(Handle) -> Result<(), Error> + Send,
{
    namespace
        .run(|| {
            // Duplicate address detection would hold every address back for more than a second.
            for scope in ["all", "default"] {
                let switch = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                if fs::exists(&switch)? {
                    fs::write(switch, "1")?;
                }
            }
            // A refusal that is held back by a rate limit is as bad as none.
            for (switch, value) in [
                ("ip_forward", "1"),
                ("conf/all/send_redirects", "0"),
                ("icmp_ratelimit", "0"),
            ] {
                fs::write(format!("/proc/sys/net/ipv4/{switch}"), value)?;
            }
            Ok(())
        })
        .map_err(failed("enter a network namespace and set its switches"))?;
    inside(namespace, async |netlink| {
        up(&netlink, "lo").await?;
        act(netlink).await
    })
}

/// Runs `act` with a netlink connection inside `namespace`.
fn inside<A>(namespace: &NetNs, act: A) -> Result<(), Error>
where
    A: AsyncFnOnce(Handle) -> Result<(), Error> + Send,
{
    let mut outcome = Ok(());
    namespace
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            outcome = runtime.block_on(async {
                let (connection, netlink, _) =
                    rtnetlink::new_connection().map_err(failed("open a netlink connection"))?;
                tokio::spawn(connection);
                act(netlink).await
            });
            Ok(())
        })
        .map_err(failed("enter a network namespace"))?;
    outcome
}

async fn gateway_side(
    netlink: &Handle,
    gateway: Ipv4Net,
    endpoints: &[Endpoint],
    machines: &[NetNs],
) -> Result<(), Error> {
    netlink
        .link()
        .add(LinkBridge::new(BRIDGE).up().build())
        .execute()
        .await
        .map_err(failed("make the cluster's bridge"))?;
    let bridge = index(netlink, BRIDGE).await?;
    for (endpoint, machine) in endpoints.iter().zip(machines) {
        cable(netlink, bridge, &endpoint.name, machine).await?;
    }
    address(netlink, bridge, gateway).await?;
    for endpoint in endpoints {
        routes(netlink, endpoint).await?;
    }
    let refusal = RouteMessageBuilder::<Ipv4Addr>::new()
        .kind(RouteType::Prohibit)
        .priority(LAST)
        .build();
    netlink
        .route()
        .add(refusal)
        .execute()
        .await
        .map_err(failed("add the route that refuses what leaks"))
}

/// Puts a cable between the bridge and the namespace `machine`.
async fn cable(netlink: &Handle, bridge: u32, name: &str, machine: &NetNs) -> Result<(), Error> {
    netlink
        .link()
        .add(LinkVeth::new(name, PORT).build())
        .execute()
        .await
        .map_err(failed(format!("make the cable of `{name}`")))?;
    let far_end = index(netlink, PORT).await?;
    netlink
        .link()
        .set(
            LinkUnspec::new_with_index(far_end)
                .setns_by_fd(machine.as_fd().as_raw_fd())
                .build(),
        )
        .execute()
        .await
        .map_err(failed(format!("hand the cable to `{name}`")))?;
    let near_end = index(netlink, name).await?;
    netlink
        .link()
        .set(
            LinkUnspec::new_with_index(near_end)
                .controller(bridge)
                .up()
                .build(),
        )
        .execute()
        .await
        .map_err(failed(format!("plug the cable of `{name}` into the bridge")))
}

async fn machine_side(
    netlink: &Handle,
    own: &Endpoint,
    gateway: Ipv4Addr,
    all: &[Endpoint],
) -> Result<(), Error> {
    let port = index(netlink, PORT).await?;
    address(netlink, port, own.address).await?;
    up(netlink, PORT).await?;
    route(netlink, Ipv4Net::default(), gateway).await?;
    for other in all.iter().filter(|other| other.name != own.name) {
        routes(netlink, other).await?;
    }
    Ok(())
}

async fn index(netlink: &Handle, name: &str) -> Result<u32, Error> {
    let act = format!("find the interface `{name}`");
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await.map_err(failed(act.clone()))? {
        Some(link) => Ok(link.header.index),
        None => Err(failed(act)(io::Error::from(io::ErrorKind::NotFound))),
    }
}

async fn up(netlink: &Handle, name: &str) -> Result<(), Error> {
    let link = LinkUnspec::new_with_index(index(netlink, name).await?)
        .up()
        .build();
    netlink
        .link()
        .set(link)
        .execute()
        .await
        .map_err(failed(format!("bring the interface `{name}` up")))
}

async fn address(netlink: &Handle, link: u32, address: Ipv4Net) -> Result<(), Error> {
    netlink
        .address()
        .add(link, IpAddr::V4(address.addr()), address.prefix_len())
        .execute()
        .await
        .map_err(failed(format!("set the address {address}")))
}

async fn routes(netlink: &Handle, endpoint: &Endpoint) -> Result<(), Error> {
    for network in &endpoint.behind {
        route(netlink, *network, endpoint.address.addr()).await?;
    }
    Ok(())
}

async fn route(netlink: &Handle, to: Ipv4Net, via: Ipv4Addr) -> Result<(), Error> {
    let message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .gateway(via)
        .build();
    netlink
        .route()
        .add(message)
        .execute()
        .await
        .map_err(failed(format!("add the route to {to} via {via}")))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::{Endpoint, Network};

    fn network() -> Network {
        let endpoint = |n: u8| Endpoint {
            name: format!("node{n:02}"),
            address: format!("10.89.0.{}/24", 10 + n).parse().unwrap(),
            behind: vec![format!("10.244.{n}.0/24").parse().unwrap()],
        };
        Network::create("10.89.0.1/24".parse().unwrap(), &[endpoint(1), endpoint(2)]).unwrap()
    }

    #[test]
    fn machines_reach_each_other() {
        let network = network();
        let inside = |n: usize| {
            network.machines[n]
                .run(|| UdpSocket::bind("0.0.0.0:7000"))
                .unwrap()
        };
        let (one, two) = (inside(0), inside(1));
        two.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        one.send_to(b"hello", "10.89.0.12:7000").unwrap();
        let mut buffer = [0; 16];
        let (length, from) = two.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.to_string().as_str()),
            (&b"hello"[..], "10.89.0.11:7000")
        );
    }

    #[test]
    fn what_leaks_is_refused_at_once() {
        let network = network();
        let socket = network.machines[0].run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect("192.0.2.1:53").unwrap();
        socket.send(b"anyone?").unwrap();
        let error = socket.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable, "{error}");
    }
}
