//! Finding out what the host is.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::thread;

use procfs::{FromRead, Meminfo};

use super::cgroup::Cgroups;
use super::kernel::{self, Modules};
use super::trial::{self, Trial};
use super::{Host, Limits, Memory, Namespaces, Network, Overlay, StateDir, tool};

impl Host {
    /// Finds out about the host; `state_dir` is where parbake's state is or will be. Trials need root and take some
    /// tenths of a second; they leave nothing behind. What cannot be found out counts as absent: the checks say so.
    pub fn probe(state_dir: &Path) -> Self {
        let root = nix::unistd::geteuid().is_root();
        let attempt = |trial: &dyn Fn() -> Trial| if root { trial() } else { Trial::not_root() };
        let existing = state_dir
            .ancestors()
            .find(|dir| dir.is_dir())
            .unwrap_or(Path::new("/"));
        let tools = tool::find_all();
        // Side by side, since the kernel makes and unmakes namespaces at leisure.
        let (overlay, bridge, iptables, nftables) = thread::scope(|scope| {
            let overlay = scope.spawn(|| attempt(&|| trial::overlay(existing)));
            let bridge = scope.spawn(|| attempt(&trial::bridge));
            let iptables = scope.spawn(|| attempt(&|| trial::iptables(tools.get("iptables-restore"))));
            let nftables = scope.spawn(|| attempt(&|| trial::nftables(tools.get("nft"))));
            let outcome = |trial: thread::ScopedJoinHandle<'_, Trial>| {
                trial
                    .join()
                    .unwrap_or_else(|_| Trial::Failed("the trial panicked".to_owned()))
            };
            (
                outcome(overlay),
                outcome(bridge),
                outcome(iptables),
                outcome(nftables),
            )
        });
        let kernel = nix::sys::utsname::uname()
            .map(|names| names.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        // Only now, since a trial makes the kernel load what it needs.
        let modules = Modules::of_kernel(&kernel);
        let shows = |path: &str| Path::new(path).exists();
        Self {
            root,
            architecture: ARCH.to_owned(),
            systemd: shows("/run/systemd/system"),
            capabilities: capabilities(),
            cgroups: Cgroups::probe(),
            namespaces: Namespaces {
                kinds: namespace_kinds(),
                create: attempt(&trial::namespaces),
            },
            overlay: Overlay {
                kernel: modules.support("overlay", kernel::has_filesystem("overlay")),
                state_dir: overlay,
            },
            network: Network {
                conntrack: modules.support("nf_conntrack", shows("/proc/sys/net/netfilter/nf_conntrack_max")),
                bridge_netfilter: modules.support(
                    "br_netfilter",
                    shows("/proc/sys/net/bridge/bridge-nf-call-iptables"),
                ),
                bridge,
                iptables,
                nftables,
            },
            tools,
            state_dir: StateDir {
                path: state_dir.to_owned(),
                free_bytes: free_bytes(existing),
            },
            memory: memory(),
            limits: Limits {
                inotify_instances: kernel::limit("fs.inotify.max_user_instances"),
                inotify_watches: kernel::limit("fs.inotify.max_user_watches"),
                root_keys: kernel::limit("kernel.keys.root_maxkeys"),
            },
            selinux: kernel::selinux(),
            apparmor: kernel::apparmor(),
            kernel,
        }
    }
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

fn memory() -> Memory {
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
    fn finds_this_host_and_survives_json() {
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
