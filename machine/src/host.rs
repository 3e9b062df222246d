//! What this host is, what follows from it, and whether it will do.
//!
//! The only place where hosts differ: [`Host::probe`] finds out, [`Host::decide`] says what parbake does because of
//! it, [`checks`] and [`Host::require`] say whether that is enough and what to do if not. A [`Host`] is plain data, so
//! everything after the probe is a function that a table of made-up hosts can test.

mod apply;
mod cgroup;
mod check;
mod decide;
mod kernel;
mod probe;
mod swap;
mod tool;
mod trial;
mod trials;
mod version;

#[cfg(test)]
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::plan::{HostSettings, KernelLimit};
pub use cgroup::{CgroupLayout, Cgroups, Hierarchy};
pub use check::{Check, Purpose, Status, checks};
pub use kernel::{KernelSupport, Selinux};
pub use swap::NoSwap;
pub use tool::Tool;
pub use trial::ProbeResult;
pub use version::Version;

/// Facts about the host, as far as parbake's work depends on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The effective user is root.
    pub root: bool,
    /// The CPU architecture in Rust's words, such as `x86_64`.
    pub architecture: String,
    /// The release of the running kernel, such as `6.1.0-18-amd64` (uname(2)).
    pub kernel: String,
    /// PID 1 is systemd (`sd_booted(3)`).
    pub systemd: bool,
    /// Names of the effective capabilities, such as `CAP_SYS_ADMIN` (capabilities(7)).
    pub capabilities: BTreeSet<String>,
    /// The control groups.
    pub cgroups: Cgroups,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The overlay file system.
    pub overlay: Overlay,
    /// The network.
    pub network: Network,
    /// Programs that parbake calls and that were found, by name.
    pub tools: BTreeMap<String, Tool>,
    /// Where parbake keeps its state.
    pub state_dir: StateDir,
    /// Main memory.
    pub memory: Memory,
    /// Limits of the kernel that clusters run into.
    pub limits: Limits,
    /// The state of SELinux.
    pub selinux: Selinux,
    /// AppArmor is on.
    pub apparmor: bool,
}

/// The namespaces of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The kinds the kernel knows, by their names in `/proc/self/ns` (namespaces(7)).
    pub kinds: BTreeSet<String>,
    /// Making one of each kind that a machine needs.
    pub create: ProbeResult,
}

/// The overlay file system of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The kernel's part.
    pub kernel: KernelSupport,
    /// An overlay whose directories are on the file system of the state directory: a whiteout, an opaque directory,
    /// `trusted.*` attributes.
    pub state_dir: ProbeResult,
}

/// What the kernel and its tools can do for a cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Connection tracking, without which no service address works.
    pub conntrack: KernelSupport,
    /// Packets that stay on a bridge pass the firewall as well.
    pub bridge_netfilter: KernelSupport,
    /// A bridge with a veth pair, in a namespace of its own.
    pub bridge: ProbeResult,
    /// Rules of the kinds that kube-proxy writes, by the host's `iptables-restore`.
    pub iptables: ProbeResult,
    /// A table with a chain, by the host's `nft`.
    pub nftables: ProbeResult,
    /// Interfaces that a program serves can be made: `/dev/net/tun` is there.
    pub tun: bool,
}

/// Where parbake keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDir {
    /// The directory; it need not exist yet.
    pub path: PathBuf,
    /// Bytes that root may still write there.
    pub free_bytes: u64,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What can be had without swapping.
    pub available_bytes: u64,
    /// Swap space, used or not.
    pub swap_bytes: u64,
}

/// Limits of the kernel that clusters run into. [`None`] where the kernel does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `fs.inotify.max_user_instances`: each machine's systemd, kubelet and runtime take a dozen.
    pub inotify_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`.
    pub inotify_watches: Option<u64>,
    /// `kernel.keys.root_maxkeys`: each container takes a session keyring.
    pub root_keys: Option<u64>,
}
