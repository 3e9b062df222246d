//! A way out of a cluster's network, for those who ask for one: a NAT in user space.
//!
//! ```text
//! cluster namespace                            the host
//! parbake0 ... parbake_out ===== slirp4netns --- ordinary sockets of an ordinary process
//!              169.254.89.100    169.254.89.2, and .3, which is the host's resolver
//! ```
//!
//! What leaves the cluster is masqueraded to the tap's address in the cluster's own namespace, and slirp4netns opens a
//! socket on the host for it. So the host has no interface, no address and no rule more than before, nobody outside
//! reaches in, and when the process ends nothing is left: the tap goes, its route with it, and what leaks is refused
//! again.
//!
//! It leads out in IPv4 alone: a cluster that has IPv6 too stays inside with that.
//!
//! The host's loopback stays out of reach. slirp4netns would lead everything that is sent to its resolver's address to
//! the host's own resolver, whatever port it is for, and that may listen on loopback: all but DNS is refused here.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use rtnetlink::Handle;

use super::{address, index, inside, route, up};
use crate::cgroup::Cgroup;
use crate::netns::NetNs;
use crate::process::{self, Cmd};

/// The name of the interface in the cluster's namespace, and of the cgroup of the process behind it: no machine's, since
/// no host name has such a character.
pub(crate) const NAME: &str = "parbake_out";
/// The name of the process's log in the cluster's directory.
pub(crate) const LOG: &str = "outside.log";
/// Who answers for the host's resolver, on port 53 alone.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 89, 3);

/// A network that nobody outside is likely to have, since nobody routes it (RFC 3927, section 7).
const NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 89, 0), 24);
/// The next hop, as slirp4netns(1) fixes it in its network: the second address.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 89, 2);
/// The tap's own address, as slirp4netns(1) fixes it: the hundredth.
const OWN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 89, 100), 24);
/// How long slirp4netns may take to make the tap.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// A way to the outside that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log could not be opened.
    #[error("could not open the log of slirp4netns")]
    Log(#[source] io::Error),
    /// slirp4netns or nft could not be run.
    #[error(transparent)]
    Command(#[from] process::Error),
    /// slirp4netns ended, or its interface did not come.
    #[error("slirp4netns made no interface: {0}")]
    NoInterface(String),
    /// The interface could not be set up.
    #[error(transparent)]
    Network(#[from] super::Error),
    /// The cluster's namespace could not be entered.
    #[error("could not enter the cluster's network namespace")]
    Enter(#[source] io::Error),
}

/// A way to the outside. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Outside(Child);

impl Outside {
    /// Makes one for the namespace `cluster`; `cgroup` is for the process, and `log` for what it says. To be called from a
    /// thread that lives as long as it: slirp4netns ends with it.
    pub(crate) fn open(cluster: &NetNs, cgroup: Cgroup, log: &Path) -> Result<Self, Error> {
        // Before anything can pass.
        let rules = || Ok(Cmd::new("nft").args(["-f", "-"]).stdin(rules()).run());
        cluster.run(rules).map_err(Error::Enter)??;
        let file = File::create(log).map_err(Error::Log)?;
        let file_too = file.try_clone().map_err(Error::Log)?;
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), cluster.as_fd().as_raw_fd());
        let cmd = Cmd::new("slirp4netns")
            .args(arguments(&namespace))
            .joining(cgroup);
        tracing::debug!(command = %cmd.display(), "starting");
        let child = cmd
            .std()
            .and_then(|mut command| command.stdin(Stdio::null()).stdout(file).stderr(file_too).spawn())
            .map_err(|source| process::Error::Start {
                command: cmd.display(),
                source,
            })?;
        let mut outside = Self(child);
        outside.wait_for_interface(cluster, log)?;
        inside(cluster, async |netlink| lead_out(&netlink).await)?;
        Ok(outside)
    }

    fn wait_for_interface(&mut self, cluster: &NetNs, log: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        // What is seen there is the namespace of whoever opens it (sysfs is not, it belongs to whoever mounted it).
        let there = || {
            let listed = fs::read_to_string("/proc/thread-self/net/dev")?;
            let mut names = listed.lines().filter_map(|line| line.split_once(':'));
            Ok(names.any(|(name, _)| name.trim() == NAME))
        };
        loop {
            if cluster.run(there).map_err(Error::Enter)? {
                return Ok(());
            }
            let ended = self.0.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                let last = said.trim_end().lines().last().unwrap_or("it said nothing");
                return Err(Error::NoInterface(last.to_owned()));
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "could not end slirp4netns");
        }
    }
}

async fn lead_out(netlink: &Handle) -> Result<(), super::Error> {
    let tap = index(netlink, NAME).await?;
    address(netlink, tap, OWN.into()).await?;
    up(netlink, NAME).await?;
    route(netlink, Ipv4Net::default().into(), GATEWAY.into()).await
}

fn arguments(namespace: &str) -> Vec<String> {
    [
        "--netns-type=path",
        "--disable-host-loopback",
        // It keeps no right of root's and sees no file but the resolver's configuration.
        "--enable-sandbox",
        "--enable-seccomp",
        &format!("--cidr={NETWORK}"),
        namespace,
        NAME,
    ]
    .map(str::to_owned)
    .into()
}

/// The rules of the cluster's namespace, in the language of nft(8).
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
