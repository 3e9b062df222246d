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
//!
//! All of it is there once for each family of addresses that the gateway has: IPv4, IPv6 or both. IPv6 is off in a network
//! without it. Nobody looks for duplicates, since all addresses are of one plan, and that would hold each back for more than
//! a second.

mod change;
pub mod outside;
mod switches;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};

use self::switches::set_switches;
use crate::netns::NetNs;

/// The name of the bridge in the cluster's namespace.
const BRIDGE: &str = "parbake0";
/// What comes after every other route (the metric of ip-route(8), less is better). The very last is the kernel's own in
/// IPv6.
const LAST: u32 = u32::MAX - 1;
/// The name of the interface in a machine's namespace.
const PORT: &str = "eth0";

/// A machine's place on the cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The machine's name; also that of its end of the cable in the cluster's namespace.
    pub name: String,
    /// Its address and the network's prefix length.
    pub address: IpNet,
    /// Its address of the other family, where the network has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<IpNet>,
    /// Networks behind the machine: its pods.
    pub behind: Vec<IpNet>,
}

impl Endpoint {
    /// Its addresses, one for each family.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        std::iter::once(self.address).chain(self.second)
    }

    /// The networks behind it, each with its address of the same family.
    fn routes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        self.behind.iter().filter_map(|network| {
            let alike = |own: &IpNet| own.addr().is_ipv4() == network.addr().is_ipv4();
            let via = self.addresses().find(alike)?;
            Some((*network, via.addr()))
        })
    }
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
    gateways: Vec<IpNet>,
    endpoints: Vec<Endpoint>,
}

impl Network {
    /// Makes the namespaces, the bridge, the cables, the addresses and the routes. `gateways` are the bridge's
    /// own addresses with the network's prefix length, one for each family of addresses.
    ///
    /// # Errors
    /// The first step that failed. Nothing is left then, since namespaces die with their descriptors.
    pub fn create(gateways: &[IpNet], endpoints: &[Endpoint]) -> Result<Self, Error> {
        let namespace = || NetNs::create().map_err(failed("make a network namespace"));
        let cluster = namespace()?;
        let machines = endpoints
            .iter()
            .map(|_| namespace())
            .collect::<Result<Vec<_>, _>>()?;
        configure(&cluster, gateways, async |netlink| {
            gateway_side(&netlink, gateways, endpoints, &machines).await
        })?;
        for (endpoint, machine) in endpoints.iter().zip(&machines) {
            configure(machine, gateways, async |netlink| {
                machine_side(&netlink, endpoint, gateways, endpoints).await
            })?;
        }
        Ok(Self {
            cluster,
            machines,
            gateways: gateways.to_vec(),
            endpoints: endpoints.to_vec(),
        })
    }
}

/// Runs `act` with a netlink connection inside `namespace`, which is new: forwarding is on, and IPv6 if one of the gateways
/// has it.
fn configure<A>(namespace: &NetNs, gateways: &[IpNet], act: A) -> Result<(), Error>
where
    A: AsyncFnOnce(Handle) -> Result<(), Error> + Send,
{
    let ipv6 = gateways.iter().any(|gateway| gateway.addr().is_ipv6());
    namespace
        .run(|| set_switches(ipv6))
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
    gateways: &[IpNet],
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
    for gateway in gateways {
        address(netlink, bridge, *gateway).await?;
    }
    for endpoint in endpoints {
        routes(netlink, endpoint).await?;
    }
    for gateway in gateways {
        let act = failed("add the route that refuses what leaks");
        netlink
            .route()
            .add(refusal(*gateway))
            .execute()
            .await
            .map_err(act)?;
    }
    Ok(())
}

/// The route that refuses what no other one of its family of addresses leads to.
fn refusal(family: IpNet) -> RouteMessage {
    match family {
        IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new()
            .kind(RouteType::Prohibit)
            .priority(LAST)
            .build(),
        IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new()
            .kind(RouteType::Prohibit)
            .priority(LAST)
            .build(),
    }
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
    gateways: &[IpNet],
    all: &[Endpoint],
) -> Result<(), Error> {
    let port = index(netlink, PORT).await?;
    for own in own.addresses() {
        address(netlink, port, own).await?;
    }
    up(netlink, PORT).await?;
    for gateway in gateways {
        route(netlink, everything(gateway.addr()), gateway.addr()).await?;
    }
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

async fn address(netlink: &Handle, link: u32, address: IpNet) -> Result<(), Error> {
    let mut request = netlink.address().add(link, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
        request.message_mut().attributes.push(flags);
    }
    request
        .execute()
        .await
        .map_err(failed(format!("set the address {address}")))
}

async fn routes(netlink: &Handle, endpoint: &Endpoint) -> Result<(), Error> {
    for (network, via) in endpoint.routes() {
        route(netlink, network, via).await?;
    }
    Ok(())
}

async fn route(netlink: &Handle, to: IpNet, via: IpAddr) -> Result<(), Error> {
    let act = format!("add the route to {to} via {via}");
    let message = route_message(to, via)?;
    netlink.route().add(message).execute().await.map_err(failed(act))
}

fn route_message(to: IpNet, via: IpAddr) -> Result<RouteMessage, Error> {
    let act = || failed(format!("make a route to {to} via {via}"));
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .map_err(act())?;
    Ok(message.gateway(via).map_err(act())?.build())
}

/// The network of all addresses of the family of `address`.
fn everything(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

#[cfg(test)]
mod tests;
