//! Connects a cluster's network with the outside: NAT in user space by slirp4netns.
//!
//! ```text
//! cluster namespace                            the host
//! parbake0 ... parbake_out ===== slirp4netns --- ordinary sockets of an ordinary process
//!              169.254.89.100    169.254.89.2, and .3, which is the host's resolver
//! ```
//!
//! Outgoing packets are masqueraded to the tap's address in the cluster's namespace, and slirp4netns opens sockets on the
//! host for them. The host gets no interface, address or rule, and cannot be used to connect to the cluster. When the
//! process ends, the tap and its route are gone, and outgoing packets are rejected again.
//!
//! Only IPv4 is supported; IPv6 stays inside the cluster.
//!
//! The host's loopback is not reachable. slirp4netns would relay packets to its resolver's address to the host's resolver,
//! on any port, and that may listen on loopback: everything but DNS is rejected in the cluster's namespace.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use rtnetlink::Handle;

use super::NetNs;
use super::network::{add_address, add_route, find_link, inside, set_up};
use crate::cgroup::Cgroup;
use crate::error::{Error, failed};
use crate::process::Cmd;

/// The interface in the cluster's namespace, and the cgroup of slirp4netns. No machine has this name, since host names do
/// not contain underscores.
pub(crate) const NAME: &str = "parbake_out";
/// The log of slirp4netns in the cluster's directory.
pub(crate) const LOG: &str = "outside.log";
/// The address of the host's resolver, on port 53 only.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 89, 3);

/// Link-local addresses, which are not routed (RFC 3927, section 7) and so rarely in use outside.
const NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 89, 0), 24);
/// The next hop: always the second address of the network (slirp4netns(1)).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 89, 2);
/// The tap's own address: always the hundredth (slirp4netns(1)).
const OWN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 89, 100), 24);
/// How long slirp4netns may take to create the tap.
const INTERFACE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A running slirp4netns. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Slirp(Child);

impl Slirp {
    /// Connects the namespace `cluster` with the network of the calling thread, which must live as long as the process: it
    /// ends with the thread. `cgroup` is for the process, and `log` for its output.
    pub(crate) fn start(cluster: &NetNs, cgroup: Cgroup, log: &Path) -> Result<Self, Error> {
        // Rules first, before any packet can pass.
        let rules = || Ok(Cmd::new("nft").args(["-f", "-"]).stdin(rules()).run());
        cluster
            .run(rules)
            .map_err(failed("enter a network namespace"))??;
        let act = || failed("open the log of slirp4netns");
        let stdout = File::create(log).map_err(act())?;
        let stderr = stdout.try_clone().map_err(act())?;
        let cmd = Cmd::new("slirp4netns")
            .args(arguments(&cluster.path().display().to_string()))
            .in_cgroup(cgroup);
        tracing::debug!(command = %cmd.display(), "starting");
        let mut slirp = Self(cmd.spawn(Stdio::null(), stdout.into(), stderr.into())?);
        slirp.wait_for_interface(cluster, log)?;
        inside(cluster, async |netlink| configure_tap(&netlink).await)?;
        Ok(slirp)
    }

    fn wait_for_interface(&mut self, cluster: &NetNs, log: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + INTERFACE_TIMEOUT;
        // procfs shows the namespace of the thread that opens the file; sysfs that of the thread that mounted it.
        let is_present = || {
            let listed = fs::read_to_string("/proc/thread-self/net/dev")?;
            let mut names = listed.lines().filter_map(|line| line.split_once(':'));
            Ok(names.any(|(name, _)| name.trim() == NAME))
        };
        loop {
            if cluster
                .run(is_present)
                .map_err(failed("enter a network namespace"))?
            {
                return Ok(());
            }
            let exited = self.0.try_wait().ok().flatten().is_some();
            if exited || Instant::now() > deadline {
                let text = fs::read_to_string(log).unwrap_or_default();
                let last_line = text.trim_end().lines().last().unwrap_or("no output");
                return Err(Error::message(format!(
                    "slirp4netns created no interface: {last_line}"
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::warn!(%error, "could not end slirp4netns");
        }
    }
}

async fn configure_tap(netlink: &Handle) -> Result<(), Error> {
    let tap = find_link(netlink, NAME).await?;
    add_address(netlink, tap, OWN.into()).await?;
    set_up(netlink, NAME).await?;
    add_route(netlink, Ipv4Net::default().into(), GATEWAY.into()).await
}

fn arguments(namespace: &str) -> Vec<String> {
    [
        "--netns-type=path",
        "--disable-host-loopback",
        // It drops all capabilities and sees no file but the resolver's configuration.
        "--enable-sandbox",
        "--enable-seccomp",
        &format!("--cidr={NETWORK}"),
        namespace,
        NAME,
    ]
    .map(str::to_owned)
    .into()
}

/// The rules of the cluster's namespace for nft(8).
fn rules() -> String {
    format!(
        "table ip parbake {{
  chain forwarded {{
    type filter hook forward priority 0
    ip daddr {RESOLVER} udp dport 53 accept
    ip daddr {RESOLVER} tcp dport 53 accept
    ip daddr {NETWORK} reject with icmp type admin-prohibited
  }}
  chain after_routing {{
    type nat hook postrouting priority 100
    oifname \"{NAME}\" masquerade
  }}
}}
"
    )
}

#[cfg(test)]
mod tests;
