//! Differences between hosts.
//!
//! [`Host::probe`] collects facts, [`Host::decide`] derives the settings for this host, [`checks`] and [`Host::require`]
//! report what is missing and how to fix it. A [`Host`] is plain data, so that everything after the probe is tested with
//! sample hosts.

mod apply;
mod cgroup;
mod check;
mod decide;
mod kernel;
mod probe;
mod swap;
mod tool;
mod trial;
mod trial_cache;
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

/// Facts about the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The effective user is root.
    pub root: bool,
    /// The CPU architecture as Rust names it, such as `x86_64`.
    pub architecture: String,
    /// The release of the running kernel, such as `6.1.0-18-amd64` (uname(2)).
    pub kernel: String,
    /// PID 1 is systemd (`sd_booted(3)`).
    pub systemd: bool,
    /// Names of the effective capabilities, such as `CAP_SYS_ADMIN` (capabilities(7)).
    pub capabilities: BTreeSet<String>,
    pub cgroups: Cgroups,
    pub namespaces: Namespaces,
    pub overlay: Overlay,
    pub network: Network,
    /// The installed ones of the programs that parbake calls, by name.
    pub tools: BTreeMap<String, Tool>,
    pub state_dir: StateDir,
    pub memory: Memory,
    pub limits: Limits,
    pub selinux: Selinux,
    pub apparmor: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The kinds that the kernel supports, by their names in `/proc/self/ns` (namespaces(7)).
    pub kinds: BTreeSet<String>,
    /// The trial to create one of each kind that a machine needs.
    pub create: ProbeResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    pub kernel: KernelSupport,
    /// The trial of an overlay whose directories are on the file system of the state directory: a whiteout, an opaque directory,
    /// `trusted.*` attributes.
    pub state_dir: ProbeResult,
}

/// What the kernel and its tools support for a cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Connection tracking, which service addresses need.
    pub conntrack: KernelSupport,
    /// Packets that stay on a bridge pass the packet filter.
    pub bridge_netfilter: KernelSupport,
    /// The trial of a bridge with a veth pair.
    pub bridge: ProbeResult,
    /// The trial of rules of the kinds that kube-proxy writes, with the host's `iptables-restore`.
    pub iptables: ProbeResult,
    /// The trial of a table with a chain, with the host's `nft`.
    pub nftables: ProbeResult,
    /// `/dev/net/tun` exists.
    pub tun: bool,
}

/// Where parbake keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDir {
    /// Need not exist.
    pub path: PathBuf,
    /// Free space for root.
    pub free_bytes: u64,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total_bytes: u64,
    pub available_bytes: u64,
    /// Swap space, used or not.
    pub swap_bytes: u64,
}

/// Kernel limits that clusters can exceed; `None` if the kernel does not have the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `fs.inotify.max_user_instances`: systemd, kubelet and runtime of a machine take a dozen.
    pub inotify_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`.
    pub inotify_watches: Option<u64>,
    /// `kernel.keys.root_maxkeys`: each container takes a session keyring.
    pub root_keys: Option<u64>,
    /// The hard limits of this process by name, such as `open files`, that are not unlimited (getrlimit(2)).
    pub process: BTreeMap<String, u64>,
}
