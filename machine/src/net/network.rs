//! A cluster's network: one namespace with a bridge, and a veth pair for each machine. It is isolated unless [`slirp`]
//! connects it with the outside.
//!
//! ```text
//! cluster namespace              machine namespaces
//! parbake0 (bridge, gateway) --- node01 === eth0  10.89.0.11/24, default via the gateway
//!                            \-- node02 === eth0  10.89.0.12/24, routes to the other nodes' pods
//! ```
//!
//! The gateway forwards between machines and pods and rejects everything else with 'prohibited' (which, unlike
//! 'unreachable', UDP sockets report too), so that nothing runs into a timeout.
//!
//! All of this exists for each address family of the gateway: IPv4, IPv6 or both. IPv6 is disabled in a network without it.
//! There is no duplicate address detection, which would take more than a second: all addresses are planned.
//!
//! [`slirp`]: super::slirp

mod sysctls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use serde::{Deserialize, Serialize};

use super::NetNs;
use crate::error::{Error, failed};

/// The bridge in the cluster's namespace.
pub(super) const BRIDGE: &str = "parbake0";
/// The metric of the route of last resort (ip-route(8), less is better). In IPv6 the very last one is the kernel's own.
const LAST_METRIC: u32 = u32::MAX - 1;
/// The interface in a machine's namespace.
const INTERFACE: &str = "eth0";

/// A machine's place in the cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The machine's name, and that of its veth interface in the cluster's namespace.
    pub name: String,
    /// The machine's address with the network's prefix length.
    pub address: IpNet,
    /// The same in the other address family, in a dual-stack network.
    #[serde(default, rename = "second", skip_serializing_if = "Option::is_none")]
    pub second_address: Option<IpNet>,
    /// Networks that are routed to the machine.
    #[serde(rename = "behind")]
    pub pod_networks: Vec<IpNet>,
}

impl Endpoint {
    /// The machine's addresses, one for each address family.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        std::iter::once(self.address).chain(self.second_address)
    }

    /// The pod networks, each with the machine's address of the same family.
    pub(super) fn routes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        self.pod_networks.iter().filter_map(|network| {
            let same_family = |own: &IpNet| own.addr().is_ipv4() == network.addr().is_ipv4();
            let via = self.addresses().find(same_family)?;
            Some((*network, via.addr()))
        })
    }
}

/// A cluster's network. It is removed when its namespaces are.
#[derive(Debug)]
pub struct Network {
    /// The namespace with the bridge and the gateway's addresses.
    pub cluster: NetNs,
    /// The machines' namespaces, in the order of their endpoints.
    pub machines: Vec<NetNs>,
    pub(super) gateways: Vec<IpNet>,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Network {
    /// Creates the namespaces, the bridge, the veth pairs, the addresses and the routes. `gateways` are the bridge's own
    /// addresses with the network's prefix length, one for each address family.
    ///
    /// # Errors
    /// The first step that failed; nothing is left.
    pub fn create(gateways: &[IpNet], endpoints: &[Endpoint]) -> Result<Self, Error> {
        let namespace = || NetNs::create().map_err(failed("create a network namespace"));
        let cluster = namespace()?;
        let machines = endpoints
            .iter()
            .map(|_| namespace())
            .collect::<Result<Vec<_>, _>>()?;
        configure(&cluster, gateways, async |netlink| {
            configure_gateway(&netlink, gateways, endpoints, &machines).await
        })?;
        for (endpoint, machine) in endpoints.iter().zip(&machines) {
            configure(machine, gateways, async |netlink| {
                configure_machine(&netlink, endpoint, gateways, endpoints).await
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

/// Sets the kernel parameters of the new `namespace` and runs `act` with a netlink connection inside it.
pub(super) fn configure<A>(namespace: &NetNs, gateways: &[IpNet], act: A) -> Result<(), Error>
where
    A: AsyncFnOnce(Handle) -> Result<(), Error> + Send,
{
    let ipv6 = gateways.iter().any(|gateway| gateway.addr().is_ipv6());
    namespace
        .run(|| sysctls::set_all(ipv6))
        .map_err(failed("prepare a network namespace"))?;
    inside(namespace, async |netlink| {
        set_up(&netlink, "lo").await?;
        act(netlink).await
    })
}

/// Runs `act` with a netlink connection inside `namespace`.
pub(super) fn inside<A>(namespace: &NetNs, act: A) -> Result<(), Error>
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

async fn configure_gateway(
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
        .map_err(failed("create the cluster's bridge"))?;
    let bridge = find_link(netlink, BRIDGE).await?;
    for (endpoint, machine) in endpoints.iter().zip(machines) {
        add_veth_pair(netlink, bridge, &endpoint.name, machine).await?;
    }
    for gateway in gateways {
        add_address(netlink, bridge, *gateway).await?;
    }
    for endpoint in endpoints {
        add_routes(netlink, endpoint).await?;
    }
    for gateway in gateways {
        let act = failed("add the route that rejects all other packets");
        netlink
            .route()
            .add(rejecting_route(*gateway))
            .execute()
            .await
            .map_err(act)?;
    }
    Ok(())
}

/// Rejects packets of an address family for which there is no other route.
fn rejecting_route(family: IpNet) -> RouteMessage {
    match family {
        IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new()
            .kind(RouteType::Prohibit)
            .priority(LAST_METRIC)
            .build(),
        IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new()
            .kind(RouteType::Prohibit)
            .priority(LAST_METRIC)
            .build(),
    }
}

/// Connects the bridge with the namespace `machine`.
pub(super) async fn add_veth_pair(
    netlink: &Handle,
    bridge: u32,
    name: &str,
    machine: &NetNs,
) -> Result<(), Error> {
    netlink
        .link()
        .add(LinkVeth::new(name, INTERFACE).build())
        .execute()
        .await
        .map_err(failed(format!("create the veth pair of `{name}`")))?;
    let far_end = find_link(netlink, INTERFACE).await?;
    let far_end = LinkUnspec::new_with_index(far_end).setns_by_fd(machine.as_fd().as_raw_fd());
    netlink
        .link()
        .set(far_end.build())
        .execute()
        .await
        .map_err(failed(format!(
            "move an interface into the namespace of `{name}`"
        )))?;
    let near_end = find_link(netlink, name).await?;
    let near_end = LinkUnspec::new_with_index(near_end).controller(bridge).up();
    netlink
        .link()
        .set(near_end.build())
        .execute()
        .await
        .map_err(failed(format!("attach `{name}` to the bridge")))
}

pub(super) async fn configure_machine(
    netlink: &Handle,
    own: &Endpoint,
    gateways: &[IpNet],
    all: &[Endpoint],
) -> Result<(), Error> {
    let link = find_link(netlink, INTERFACE).await?;
    for address in own.addresses() {
        add_address(netlink, link, address).await?;
    }
    set_up(netlink, INTERFACE).await?;
    for gateway in gateways {
        add_route(netlink, default_network(gateway.addr()), gateway.addr()).await?;
    }
    for other in all.iter().filter(|other| other.name != own.name) {
        add_routes(netlink, other).await?;
    }
    Ok(())
}

/// The index of the interface `name`.
pub(super) async fn find_link(netlink: &Handle, name: &str) -> Result<u32, Error> {
    let act = format!("find the interface `{name}`");
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await.map_err(failed(act.clone()))? {
        Some(link) => Ok(link.header.index),
        None => Err(failed(act)(io::Error::from(io::ErrorKind::NotFound))),
    }
}

pub(super) async fn set_up(netlink: &Handle, name: &str) -> Result<(), Error> {
    let link = LinkUnspec::new_with_index(find_link(netlink, name).await?).up();
    netlink
        .link()
        .set(link.build())
        .execute()
        .await
        .map_err(failed(format!("set the interface `{name}` up")))
}

pub(super) async fn add_address(netlink: &Handle, link: u32, address: IpNet) -> Result<(), Error> {
    let mut request = netlink.address().add(link, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
        request.message_mut().attributes.push(flags);
    }
    request
        .execute()
        .await
        .map_err(failed(format!("add the address {address}")))
}

/// Adds the routes to the pods of `endpoint`.
pub(super) async fn add_routes(netlink: &Handle, endpoint: &Endpoint) -> Result<(), Error> {
    for (network, via) in endpoint.routes() {
        add_route(netlink, network, via).await?;
    }
    Ok(())
}

pub(super) async fn add_route(netlink: &Handle, to: IpNet, via: IpAddr) -> Result<(), Error> {
    let act = format!("add the route to {to} via {via}");
    let message = route_message(to, via)?;
    netlink.route().add(message).execute().await.map_err(failed(act))
}

pub(super) fn route_message(to: IpNet, via: IpAddr) -> Result<RouteMessage, Error> {
    let act = || failed(format!("describe a route to {to} via {via}"));
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .map_err(act())?;
    Ok(message.gateway(via).map_err(act())?.build())
}

/// The network of all addresses of the family of `address`.
fn default_network(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

#[cfg(test)]
mod tests;
