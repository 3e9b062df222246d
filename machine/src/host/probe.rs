//! Probing the host.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use procfs::{FromRead, Meminfo};

use super::cgroup::Cgroups;
use super::kernel::{self, Modules};
use super::trial_cache::Trials;
use super::{Host, Limits, Memory, Namespaces, Network, Overlay, StateDir};
use crate::process::limits;

impl Host {
    /// Probes the host. `state_dir` is where parbake keeps its state; it need not exist. Trials need root, take some tenths
    /// of a second, and leave nothing behind. What cannot be found out counts as absent, and is reported by the checks.
    pub fn probe(state_dir: &Path) -> Self {
        Self::new(state_dir, Trials::run(is_root(), existing(state_dir)))
    }

    /// Like [`Host::probe`], but skips trials that have worked since this host booted, see [`Host::remember`].
    pub fn detect(state_dir: &Path) -> Self {
        let trials = Trials::recall(state_dir);
        Self::new(
            state_dir,
            trials.unwrap_or_else(|| Trials::run(is_root(), existing(state_dir))),
        )
    }

    /// Saves in the state directory that the trials worked.
    pub fn remember(self) {
        let trials = Trials {
            namespaces: self.namespaces.create,
            overlay: self.overlay.state_dir,
            bridge: self.network.bridge,
            iptables: self.network.iptables,
            nftables: self.network.nftables,
            tools: self.tools,
        };
        trials.remember(&self.state_dir.path);
    }

    fn new(state_dir: &Path, trials: Trials) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        // After the trials, which make the kernel load modules.
        let modules = Modules::of_kernel(&kernel);
        let exists = |path: &str| Path::new(path).exists();
        Self {
            root: is_root(),
            architecture: ARCH.to_owned(),
            systemd: exists("/run/systemd/system"),
            capabilities: capabilities(),
            cgroups: Cgroups::probe(),
            namespaces: Namespaces {
                kinds: namespace_kinds(),
                create: trials.namespaces,
            },
            overlay: Overlay {
                kernel: modules.support("overlay", kernel::has_filesystem("overlay")),
                state_dir: trials.overlay,
            },
            network: Network {
                conntrack: modules
                    .support("nf_conntrack", exists("/proc/sys/net/netfilter/nf_conntrack_max")),
                bridge_netfilter: modules.support(
                    "br_netfilter",
                    exists("/proc/sys/net/bridge/bridge-nf-call-iptables"),
                ),
                bridge: trials.bridge,
                iptables: trials.iptables,
                nftables: trials.nftables,
                tun: exists("/dev/net/tun"),
            },
            tools: trials.tools,
            state_dir: StateDir {
                path: state_dir.to_owned(),
                free_bytes: free_bytes(existing(state_dir)),
            },
            memory: memory(),
            limits: Limits {
                inotify_instances: kernel::limit("fs.inotify.max_user_instances"),
                inotify_watches: kernel::limit("fs.inotify.max_user_watches"),
                root_keys: kernel::limit("kernel.keys.root_maxkeys"),
                process: limits::NEEDED
                    .iter()
                    .filter_map(|needed| Some((needed.name.to_owned(), needed.hard_limit()?)))
                    .collect(),
            },
            selinux: kernel::selinux(),
            apparmor: kernel::apparmor(),
            kernel,
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory, or its nearest ancestor that exists.
fn existing(dir: &Path) -> &Path {
    let mut above = dir.ancestors();
    above.find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

fn capabilities() -> BTreeSet<String> {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let names = effective.iter().flat_map(|set| set.iter_names());
    names.map(|(name, _)| format!("CAP_{name}")).collect()
}

fn namespace_kinds() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir)
        .map(|fs| fs.f_bavail * fs.f_frsize)
        .unwrap_or_default()
}

pub(super) fn memory() -> Memory {
    let info = Meminfo::from_file("/proc/meminfo").ok();
    let bytes = |pick: fn(&Meminfo) -> u64| info.as_ref().map(pick).unwrap_or_default();
    Memory {
        total_bytes: bytes(|info| info.mem_total),
        available_bytes: bytes(|info| info.mem_available.unwrap_or(info.mem_free)),
        swap_bytes: bytes(|info| info.swap_total),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Host;

    #[test]
    fn probes_this_host_and_round_trips_through_json() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::probe(&dir.path().join("not/there/yet"));
        assert!(host.root, "these tests need root");
        assert!(host.has_capability("CAP_SYS_ADMIN") && host.namespaces.kinds.contains("mnt"));
        assert!(host.memory.total_bytes > 0 && host.state_dir.free_bytes > 0);
        let json = serde_json::to_string(&host).unwrap();
        assert_eq!(serde_json::from_str::<Host>(&json).unwrap(), host);
        assert!(!Path::new(&host.state_dir.path).exists());
    }
}
