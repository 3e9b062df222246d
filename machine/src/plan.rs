//! What a supervisor runs: plain data, sent to it as JSON.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf, absolute};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cgroup::{CgroupMount, CgroupPlan, Limits};
pub use crate::net::{Balancer, Endpoint, Forward};

/// A cluster's machines and their network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Distinguishes the cluster's cgroups from those of others on this host: `[a-z0-9-]+`.
    pub id: String,
    /// Where the supervisor keeps its state and its log.
    pub dir: PathBuf,
    /// The gateway's address with the prefix length of the machines' network.
    pub gateway: IpNet,
    /// The same in the other address family, in a dual-stack network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_gateway: Option<IpNet>,
    /// Booted in parallel.
    pub machines: Vec<MachinePlan>,
    /// Ports of the host that lead into the cluster.
    pub forwards: Vec<Forward>,
    /// The cluster can reach the outside, see [`crate::net::slirp`].
    #[serde(default)]
    pub internet: bool,
    /// Ports inside the cluster that lead to one of several machines.
    #[serde(default)]
    pub balancers: Vec<Balancer>,
    pub host: HostSettings,
    /// Everything ends with the process that starts the supervisor, as for a bake.
    pub end_with_parent: bool,
    /// Commands that are run before the machines are powered off ([`crate::supervisor::Running::shut_down`]): each one in
    /// all machines in parallel, then the next.
    #[serde(default, rename = "farewell")]
    pub shutdown_commands: Vec<Vec<String>>,
}

impl Plan {
    /// The gateway's addresses, one for each address family of the network.
    pub fn gateways(&self) -> Vec<IpNet> {
        std::iter::once(self.gateway).chain(self.second_gateway).collect()
    }

    /// The same plan with absolute paths.
    pub(crate) fn absolute(&self) -> io::Result<Self> {
        let machines = self.machines.iter().map(MachinePlan::absolute);
        Ok(Self {
            dir: absolute(&self.dir)?,
            machines: machines.collect::<io::Result<_>>()?,
            ..self.clone()
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePlan {
    pub endpoint: Endpoint,
    /// Read-only layers in overlayfs form, bottom first.
    pub layers: Vec<PathBuf>,
    /// The directory that the machine owns, see [`crate::fs::dirs`].
    pub dir: PathBuf,
    /// Directories and files of the host that the machine sees, parents before their children.
    pub binds: Vec<Bind>,
    /// Directories of the machine that cannot be on an overlay, relative to its root.
    pub plain: Vec<PathBuf>,
    /// Directories of the machine that are in memory while it runs, see [`crate::fs::tmpfs`].
    #[serde(default)]
    pub in_memory: Vec<InMemory>,
    /// Files to write into the root before the boot.
    pub files: Vec<SeedFile>,
    /// The machine's share of CPU time when the cluster's machines compete: 1 to 10000, as `cpu.weight` of cgroup v2.
    pub cpu_weight: u32,
    #[serde(default)]
    pub limits: Limits,
    /// Kernel parameters below `net.`, by their names for sysctl(8), see [`crate::net::sysctl`].
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// A port on which connections wait until a process of the machine listens there with `SO_REUSEPORT`.
    #[serde(rename = "hold")]
    pub early_port: Option<u16>,
}

impl MachinePlan {
    /// The same plan with absolute paths. Symbolic links in sources of bind mounts are resolved, since the supervisor has
    /// another `/run`; what does not exist stays as it is, and fails later.
    pub(crate) fn absolute(&self) -> io::Result<Self> {
        let layers = self.layers.iter().map(absolute);
        let resolve = |path: &Path| path.canonicalize().or_else(|_| absolute(path));
        let binds = self.binds.iter().map(|bind| {
            Ok(Bind {
                from: resolve(&bind.from)?,
                ..bind.clone()
            })
        });
        Ok(Self {
            layers: layers.collect::<io::Result<_>>()?,
            dir: absolute(&self.dir)?,
            binds: binds.collect::<io::Result<_>>()?,
            ..self.clone()
        })
    }
}

/// A directory or file of the host inside a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The directory or file on the host.
    pub from: PathBuf,
    /// The mount point, relative to the machine's root.
    pub to: PathBuf,
    /// Mounts below the directory on the host are not visible if this is set.
    pub read_only: bool,
}

/// A directory of a machine that is in memory while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InMemory {
    /// Relative to the machine's root.
    pub path: PathBuf,
    /// The maximum size.
    pub bytes: u64,
}

/// A file or symbolic link to write into a machine's root, or to remove from it, before it boots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Relative to the machine's root. Missing directories are created with mode 0755.
    pub path: PathBuf,
    pub content: SeedContent,
}

impl SeedFile {
    /// A world-readable regular file.
    pub fn public(path: &str, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            content: SeedContent::File {
                mode: 0o644,
                text: text.into(),
            },
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum SeedContent {
    /// A regular file, owned by root.
    File {
        /// Permission bits, such as `0o600`.
        mode: u32,
        text: String,
    },
    /// A symbolic link.
    Link { target: PathBuf },
    /// An existing file or link is removed.
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

/// What is different because of the host; [`crate::host::Host::decide`] makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSettings {
    /// Set `restrict_oom_score_adj = true` for containerd's CRI plugin. Without `CAP_SYS_RESOURCE` no process may lower its
    /// `oom_score_adj`: runc fails, and no pod starts. Off elsewhere, since it weakens the order in which the kubelet has
    /// pods killed.
    pub restrict_oom_score_adj: bool,
    /// Set `disable_apparmor = true` for containerd's CRI plugin: the host has AppArmor, but a machine has neither its
    /// parser nor its interface, and cannot load profiles.
    pub disable_apparmor: bool,
    /// Environment variables of systemd-nspawn itself.
    pub nspawn_env: Vec<(String, String)>,
    /// Environment variables of a machine's PID 1 (`--setenv`).
    pub machine_env: Vec<(String, String)>,
    /// Remount each cgroup v1 hierarchy inside a machine writable (`mount -o remount,rw,bind`) before containerd starts:
    /// systemd-nspawn mounts all but `name=systemd` read-only.
    pub remount_v1_rw: bool,
    pub cgroups: CgroupPlan,
    /// Hierarchies that the supervisor mounts again in a cgroup namespace of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remount_cgroups: Vec<CgroupMount>,
    /// Kernel modules to load before a cluster starts.
    pub modules: Vec<String>,
    /// Kernel limits to raise, since they are too low for several clusters.
    pub limits: Vec<KernelLimit>,
}

/// A kernel limit that is too low.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLimit {
    /// Its name for sysctl(8), such as `fs.inotify.max_user_instances`.
    pub name: String,
    pub at_least: u64,
}
