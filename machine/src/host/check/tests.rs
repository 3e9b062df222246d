use super::{Purpose, Status, checks};
use crate::host::samples::{hybrid_container, not_root, v1, v2_container, v2_systemd};
use crate::host::{CgroupLayout, Host, KernelSupport, ProbeResult, Selinux, Version};

/// The checks that are not ok.
fn problems(host: &Host, purpose: Purpose) -> Vec<(String, Status)> {
    let bad = checks(host, purpose)
        .into_iter()
        .filter(|check| check.status != Status::Ok);
    bad.map(|check| (check.name, check.status)).collect()
}

#[test]
fn complete_hosts_pass_all_checks() {
    for host in [v2_systemd(), v2_container(), v1()] {
        for purpose in [Purpose::Up, Purpose::Provision, Purpose::All] {
            assert_eq!(
                problems(&host, purpose),
                [],
                "{purpose}: {:?}",
                host.cgroups.layout
            );
            assert!(host.clone().require(purpose).is_ok());
        }
    }
}

#[test]
fn ci_container_passes_with_warnings() {
    let warnings = ["capabilities", "inotify"].map(|name| (name.to_owned(), Status::Warning));
    assert_eq!(problems(&hybrid_container(), Purpose::Provision), warnings);
    assert!(hybrid_container().require(Purpose::Provision).is_ok());
}

#[test]
fn each_problem_has_a_remedy() {
    type Change = fn(&mut Host);
    let cases: &[(&str, Status, &str, Change)] = &[
        ("architecture", Status::Failed, "x86-64", |host| {
            host.architecture = "riscv64".into()
        }),
        ("kernel", Status::Failed, "4.19", |host| {
            host.kernel = "3.10.0-1160.el7.x86_64".into()
        }),
        ("capabilities", Status::Failed, "privileged", |host| {
            host.capabilities.remove("CAP_SYS_ADMIN");
        }),
        ("control groups", Status::Failed, "mount -t cgroup2", |host| {
            host.cgroups.layout = CgroupLayout::Absent;
            host.cgroups.hierarchies[0]
                .controllers
                .extend(["cpuacct", "devices", "freezer"].map(String::from));
        }),
        ("control groups", Status::Failed, "remount", |host| {
            host.cgroups.hierarchies[0].writable = false
        }),
        ("control groups", Status::Failed, "--cgroupns=private", |host| {
            host.cgroups.hierarchies[0].is_subtree = true
        }),
        ("controllers", Status::Failed, "command line", |host| {
            host.cgroups.hierarchies[0]
                .controllers
                .retain(|controller| controller != "memory");
        }),
        ("controllers", Status::Warning, "pids", |host| {
            host.cgroups.hierarchies[0]
                .controllers
                .retain(|controller| controller != "pids");
        }),
        ("namespaces", Status::Failed, "kernel", |host| {
            host.namespaces.kinds.remove("cgroup");
        }),
        ("namespaces", Status::Failed, "seccomp", |host| {
            host.namespaces.create = ProbeResult::Failed("EPERM".into());
        }),
        ("overlay", Status::Failed, "CONFIG_OVERLAY_FS", |host| {
            host.overlay.kernel = KernelSupport::Missing;
        }),
        ("overlay", Status::Failed, "--dir", |host| {
            host.overlay.state_dir = ProbeResult::Failed("EINVAL".into());
        }),
        ("conntrack", Status::Failed, "nf_conntrack", |host| {
            host.network.conntrack = KernelSupport::Missing;
        }),
        ("bridge netfilter", Status::Warning, "br_netfilter", |host| {
            host.network.bridge_netfilter = KernelSupport::Missing;
        }),
        ("bridge and veth", Status::Failed, "CONFIG_VETH", |host| {
            host.network.bridge = ProbeResult::Failed("not supported".into());
        }),
        ("iptables", Status::Failed, "MASQUERADE", |host| {
            host.network.iptables = ProbeResult::Failed("no chain".into());
        }),
        ("iptables", Status::Warning, "apt-get install iptables", |host| {
            host.network.iptables = ProbeResult::NotTried("missing".into());
        }),
        ("nftables", Status::Warning, "CONFIG_NF_TABLES", |host| {
            host.network.nftables = ProbeResult::Failed("no table".into());
        }),
        ("kernel modules", Status::Failed, "kmod", |host| {
            host.network.bridge_netfilter = KernelSupport::Loadable;
            host.tools.remove("modprobe");
        }),
        (
            "kernel modules",
            Status::Failed,
            "modprobe -a overlay br_netfilter",
            |host| {
                host.overlay.kernel = KernelSupport::Loadable;
                host.network.bridge_netfilter = KernelSupport::Loadable;
                host.capabilities.remove("CAP_SYS_MODULE");
            },
        ),
        (
            "inotify",
            Status::Warning,
            "fs.inotify.max_user_watches=65536",
            |host| {
                host.limits.inotify_watches = Some(8192);
            },
        ),
        ("keyrings", Status::Warning, "root_maxkeys", |host| {
            host.limits.root_keys = Some(200)
        }),
        ("SELinux", Status::Warning, "setenforce 0", |host| {
            host.selinux = Selinux::Enforcing
        }),
        ("memory", Status::Failed, "1 GiB", |host| {
            host.memory.available_bytes = 1 << 29
        }),
        ("memory", Status::Warning, "--nodes", |host| {
            host.memory.available_bytes = 2 << 30
        }),
        ("disk space", Status::Failed, "5.0 GiB", |host| {
            host.state_dir.free_bytes = 4 << 30
        }),
        (
            "systemd-nspawn",
            Status::Failed,
            "apt-get install systemd-container",
            |host| {
                host.tools.remove("systemd-nspawn");
            },
        ),
        ("systemd-nspawn", Status::Failed, "version 245", |host| {
            host.tools.get_mut("systemd-nspawn").unwrap().version = Some(Version::new([237]));
        }),
        ("go", Status::Warning, "version 1.21", |host| {
            host.tools.get_mut("go").unwrap().version = Some(Version::new([1, 19, 8]));
        }),
        ("go", Status::Warning, "reinstall", |host| {
            host.tools.get_mut("go").unwrap().version = None
        }),
        ("cc", Status::Warning, "gcc", |host| {
            host.tools.remove("cc");
        }),
    ];
    for (name, status, remedy, change) in cases {
        let mut host = v2_systemd();
        change(&mut host);
        assert_eq!(
            problems(&host, Purpose::Provision),
            [((*name).to_owned(), *status)],
            "{name}: {remedy}"
        );
        let check = checks(&host, Purpose::Provision)
            .into_iter()
            .find(|check| check.name == *name)
            .unwrap();
        assert!(check.remedy.as_ref().unwrap().contains(remedy), "{check:?}");
        assert_eq!(
            host.require(Purpose::Provision).is_err(),
            *status == Status::Failed,
            "{name}"
        );
    }
}

#[test]
fn low_process_limits_fail_only_if_they_cannot_be_raised() {
    let mut host = v2_systemd();
    host.limits.process.insert("open files".to_owned(), 64);
    assert_eq!(problems(&host, Purpose::Up), []);
    host.capabilities.remove("CAP_SYS_RESOURCE");
    let failed = ("process limits".to_owned(), Status::Failed);
    assert!(problems(&host, Purpose::Up).contains(&failed));
    let error = host.require(Purpose::Up).unwrap_err().to_string();
    assert!(
        error.contains("open files: 64") && error.contains("`ulimit -n`"),
        "{error}"
    );
}

#[test]
fn requirements_of_a_bake_affect_only_a_bake() {
    let mut host = v2_systemd();
    host.tools.remove("mmdebstrap");
    host.state_dir.free_bytes = 3 << 30;
    assert_eq!(problems(&host, Purpose::Up), []);
    let both = |status| ["disk space", "mmdebstrap"].map(|name| (name.to_owned(), status));
    assert_eq!(problems(&host, Purpose::All), both(Status::Warning));
    assert_eq!(problems(&host, Purpose::Provision), both(Status::Failed));
    host.state_dir.free_bytes = 1 << 30;
    assert_eq!(
        problems(&host, Purpose::All)[0],
        ("disk space".to_owned(), Status::Failed)
    );
}

#[test]
fn requirements_of_internet_access_affect_only_that() {
    type Change = fn(&mut Host);
    let cases: &[(&str, &str, Change)] = &[
        ("slirp4netns", "apt-get install slirp4netns", |host| {
            host.tools.remove("slirp4netns");
        }),
        ("tun device", "CONFIG_TUN", |host| host.network.tun = false),
        ("masquerading", "apt-get install nftables", |host| {
            host.tools.remove("nft");
            host.network.nftables = ProbeResult::NotTried("missing".into());
        }),
        ("masquerading", "CONFIG_NF_TABLES", |host| {
            host.network.nftables = ProbeResult::Failed("no table".into());
        }),
    ];
    for (name, remedy, change) in cases {
        let mut host = v2_systemd();
        change(&mut host);
        assert_eq!(
            problems(&host, Purpose::Internet),
            [((*name).to_owned(), Status::Failed)],
            "{remedy}"
        );
        let all = problems(&host, Purpose::All);
        assert!(all.contains(&((*name).to_owned(), Status::Warning)), "{all:?}");
        assert!(host.clone().require(Purpose::Up).is_ok());
        let error = host.require(Purpose::Internet).unwrap_err().to_string();
        assert!(
            error.starts_with("this host is not ready for `parbake up --internet`:")
                && error.contains(remedy),
            "{error}"
        );
    }
}

#[test]
fn unprivileged_user_gets_one_problem() {
    let error = not_root().require(Purpose::Up).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this host is not ready for `parbake up`:\n  user: not root; run parbake as root, such as with `sudo`"
    );
}

#[test]
fn error_lists_all_failed_checks() {
    let mut host = v2_systemd();
    host.tools.remove("nsenter");
    host.overlay.kernel = KernelSupport::Missing;
    assert_eq!(
        host.require(Purpose::Up).unwrap_err().to_string(),
        "this host is not ready for `parbake up`:
  overlay: the kernel has no overlay file system; boot a kernel with CONFIG_OVERLAY_FS, or load the module `overlay` \
         on the container's host
  nsenter: missing: enters the machines; install it: `apt-get install util-linux`"
    );
}
