//! What a supervisor is asked to run: plain data, handed over as JSON on its standard input.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cgroup::Limits;
use crate::host::HostSettings;
use crate::network::Endpoint;

/// A cluster's machines and their network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What tells the cluster's cgroups from those of others on this host: `[a-z0-9-]+`.
    pub id: String,
    /// Where the supervisor keeps its state and its log.
    pub dir: PathBuf,
    /// The address of the gateway, with the prefix length of the machines' network.
    pub gateway: IpNet,
    /// Its address of the other family, with the prefix length of the machines' network there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_gateway: Option<IpNet>,
    /// The machines, all booted side by side.
    pub machines: Vec<MachinePlan>,
    /// Ports of the host that lead into the cluster.
    pub forwards: Vec<Forward>,
    /// Whether there is a way to the outside, see [`crate::network::outside`].
    #[serde(default)]
    pub internet: bool,
    /// Ports inside the cluster that lead to whichever of several machines answers.
    #[serde(default)]
    pub balancers: Vec<Balancer>,
    /// What is different because of the host.
    pub host: HostSettings,
    /// Whether everything ends when the process that starts the supervisor does, as a bake wants it.
    pub end_with_parent: bool,
    /// What ends the work on the machines before they are powered off in order ([`crate::handle::Running::end`]): each
    /// command is run in all machines side by side, and the next one after that.
    #[serde(default)]
    pub farewell: Vec<Vec<String>>,
}

impl Plan {
    /// The addresses of the gateway, one for each family of addresses that the network has.
    pub fn gateways(&self) -> Vec<IpNet> {
        std::iter::once(self.gateway).chain(self.second_gateway).collect()
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePlan {
    /// Name, address and the pods' network.
    pub endpoint: Endpoint,
    /// Read-only layers in overlayfs form, bottom first.
    pub layers: Vec<PathBuf>,
    /// The directory that the machine owns, see [`crate::dirs`].
    pub dir: PathBuf,
    /// Directories and files of the host that the machine sees, those that hold others first.
    pub binds: Vec<Bind>,
    /// Directories of the machine that cannot be on an overlay, relative to its root.
    pub plain: Vec<PathBuf>,
    /// Directories of the machine that are in memory while it runs, see [`crate::tmpfs`].
    #[serde(default)]
    pub in_memory: Vec<InMemory>,
    /// Files to write into the root before the boot.
    pub files: Vec<SeedFile>,
    /// How much processor time it gets when there is not enough for the cluster's machines: 1 to 10000, as `cpu.weight`
    /// of cgroup v2.
    pub cpu_weight: u32,
    /// What it may take at most.
    #[serde(default)]
    pub limits: Limits,
    /// Kernel parameters below `net.`, by their names for sysctl(8), see [`crate::sysctl`].
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// A port on which connections wait until a process of the machine listens there with `SO_REUSEPORT`.
    pub hold: Option<u16>,
}

/// A directory or a file of the host inside of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The directory or file on the host.
    pub from: PathBuf,
    /// Where it appears, relative to the machine's root.
    pub to: PathBuf,
    /// Whether the machine may only read it. What is mounted below the directory on the host is not seen then.
    pub read_only: bool,
}

/// A directory of a machine that is in memory while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InMemory {
    /// The directory, relative to the machine's root.
    pub path: PathBuf,
    /// How many bytes it may take at most.
    pub bytes: u64,
}

/// A file or symbolic link to be written into a machine's root, or removed from it, before it boots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Path relative to the machine's root. Missing directories are made with mode 0755.
    pub path: PathBuf,
    /// What is there.
    pub content: SeedContent,
}

/// What a seeded file is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum SeedContent {
    /// A regular file, owned by root.
    File {
        /// Permission bits, such as `0o600`.
        mode: u32,
        /// The whole content.
        text: String,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
    /// Nothing: a file or link that is there is removed.
    Absent,
}

/// Contents may be keys: only the path is shown.
impl std::fmt::Debug for SeedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A TCP port of the gateway that leads to one of several inside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// Where the cluster's network namespace listens.
    pub listen: SocketAddr,
    /// Where connections go, each to the next one that answers.
    pub to: Vec<SocketAddr>,
}

/// A TCP port of the host that leads to one inside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Where the host listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where connections go, in the cluster's network namespace.
    pub to: SocketAddr,
    /// Whether another port will do where this one is taken.
    #[serde(default)]
    pub movable: bool,
}
