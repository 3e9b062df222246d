//! Sample hosts for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{
    CgroupLayout, Cgroups, Hierarchy, Host, KernelSupport, Limits, Memory, Namespaces, Network, Overlay,
    ProbeResult, Selinux, StateDir, Tool, Version,
};

const GIB: u64 = 1 << 30;

/// A complete server with cgroup v2 and systemd.
pub(super) fn v2_systemd() -> Host {
    Host {
        root: true,
        architecture: "x86_64".to_owned(),
        kernel: "6.12.30-cloud-amd64".to_owned(),
        systemd: true,
        capabilities: names(&[
            "CAP_AUDIT_WRITE",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_MKNOD",
            "CAP_NET_ADMIN",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_RAW",
            "CAP_SETFCAP",
            "CAP_SETGID",
            "CAP_SETPCAP",
            "CAP_SETUID",
            "CAP_SYS_ADMIN",
            "CAP_SYS_CHROOT",
            "CAP_SYS_MODULE",
            "CAP_SYS_PTRACE",
            "CAP_SYS_RESOURCE",
        ]),
        cgroups: cgroups(
            CgroupLayout::V2,
            vec![hierarchy(2, "", "cpuset,cpu,io,memory,pids")],
        ),
        namespaces: Namespaces {
            kinds: names(&[
                "cgroup",
                "ipc",
                "mnt",
                "net",
                "pid",
                "pid_for_children",
                "user",
                "uts",
            ]),
            create: ProbeResult::Works,
        },
        overlay: Overlay {
            kernel: KernelSupport::Present,
            state_dir: ProbeResult::Works,
        },
        network: Network {
            conntrack: KernelSupport::Present,
            bridge_netfilter: KernelSupport::Present,
            bridge: ProbeResult::Works,
            iptables: ProbeResult::Works,
            nftables: ProbeResult::Works,
            tun: true,
        },
        tools: BTreeMap::from([
            tool("systemd-nspawn", Some(&[257])),
            tool("nsenter", None),
            tool("mmdebstrap", None),
            tool("apt-get", None),
            tool("dpkg-deb", None),
            tool("go", Some(&[1, 24, 1])),
            tool("cc", None),
            tool("slirp4netns", None),
            tool("modprobe", None),
            tool("iptables-restore", None),
            tool("nft", None),
        ]),
        state_dir: StateDir {
            path: PathBuf::from("/var/lib/parbake"),
            free_bytes: 100 * GIB,
        },
        memory: Memory {
            total_bytes: 16 * GIB,
            available_bytes: 12 * GIB,
            swap_bytes: 0,
        },
        limits: Limits {
            inotify_instances: Some(1024),
            inotify_watches: Some(524_288),
            root_keys: Some(1_000_000),
            process: BTreeMap::from([("open files".to_owned(), 524_288)]),
        },
        selinux: Selinux::Off,
        apparmor: false,
    }
}

/// A container with cgroup v2 whose PID 1 is a shell.
pub(super) fn v2_container() -> Host {
    Host {
        systemd: false,
        ..v2_systemd()
    }
}

/// An old server with cgroup v1 and systemd.
pub(super) fn v1() -> Host {
    let hierarchies = vec![
        hierarchy(1, "systemd", "name=systemd"),
        hierarchy(1, "cpu,cpuacct", "cpu,cpuacct"),
        hierarchy(1, "cpuset", "cpuset"),
        hierarchy(1, "memory", "memory"),
        hierarchy(1, "devices", "devices"),
        hierarchy(1, "freezer", "freezer"),
        hierarchy(1, "pids", "pids"),
    ];
    Host {
        cgroups: cgroups(CgroupLayout::V1, hierarchies),
        ..v2_systemd()
    }
}

/// A CI container on a hybrid host, without `CAP_SYS_RESOURCE` and with the kernel's default inotify limit.
pub(super) fn hybrid_container() -> Host {
    let mut host = Host {
        systemd: false,
        ..v1()
    };
    host.cgroups.layout = CgroupLayout::Hybrid;
    host.cgroups.hierarchies.push(hierarchy(2, "unified", ""));
    host.capabilities.remove("CAP_SYS_RESOURCE");
    host.limits.inotify_instances = Some(128);
    host
}

/// [`v2_systemd`] as an unprivileged user sees it.
pub(super) fn not_root() -> Host {
    let mut host = Host {
        root: false,
        capabilities: BTreeSet::new(),
        ..v2_systemd()
    };
    host.namespaces.create = ProbeResult::not_root();
    host.overlay.state_dir = ProbeResult::not_root();
    host.network.bridge = ProbeResult::not_root();
    host.network.iptables = ProbeResult::not_root();
    host.network.nftables = ProbeResult::not_root();
    host
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn tool(name: &str, version: Option<&[u32]>) -> (String, Tool) {
    (
        name.to_owned(),
        Tool {
            path: Path::new("/usr/bin").join(name),
            version: version.map(Version::new),
        },
    )
}

fn cgroups(layout: CgroupLayout, hierarchies: Vec<Hierarchy>) -> Cgroups {
    Cgroups { layout, hierarchies }
}

fn hierarchy(version: u8, dir: &str, controllers: &str) -> Hierarchy {
    let mount_point = Path::new("/sys/fs/cgroup")
        .components()
        .chain(Path::new(dir).components())
        .collect();
    let controllers = controllers
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    Hierarchy {
        version,
        controllers,
        own: PathBuf::clone(&mount_point),
        mount_point,
        is_subtree: false,
        writable: true,
    }
}
