//! Checks of the kernel, the user and the cgroups.

use crate::host::Host;
use crate::host::cgroup::CgroupLayout;
use crate::host::kernel::{KernelSupport, Selinux};
use crate::host::version::Version;

use super::{Check, outcome};

/// The oldest kernel that kubeadm's preflight check accepts.
const MIN_KERNEL: [u32; 2] = [4, 19];
/// Capabilities that every machine needs, and why. containerd gives 14 of them to every container (its
/// `oci.defaultUnixCaps`), which fails if one is missing.
const NEEDED_CAPABILITIES: [(&str, &str); 16] = [
    ("CAP_SYS_ADMIN", "mounts and namespaces"),
    ("CAP_NET_ADMIN", "the cluster's network"),
    ("CAP_SYS_CHROOT", "containers"),
    ("CAP_MKNOD", "device nodes and whiteouts"),
    ("CAP_CHOWN", "the owners of files"),
    ("CAP_DAC_OVERRIDE", "everyone's files"),
    ("CAP_FOWNER", "the modes of files"),
    ("CAP_SETFCAP", "the capabilities of files"),
    ("CAP_SETUID", "users in containers"),
    ("CAP_SETGID", "groups in containers"),
    ("CAP_KILL", "stopping machines"),
    ("CAP_AUDIT_WRITE", CONTAINERS),
    ("CAP_FSETID", CONTAINERS),
    ("CAP_NET_BIND_SERVICE", CONTAINERS),
    ("CAP_NET_RAW", CONTAINERS),
    ("CAP_SETPCAP", CONTAINERS),
];
const CONTAINERS: &str = "containers have it by default";

pub(super) fn user(host: &Host) -> Check {
    if host.root {
        Check::ok("user", "root")
    } else {
        Check::failed("user", "not root", "run parbake as root, such as with `sudo`")
    }
}

pub(super) fn architecture(host: &Host) -> Check {
    match host.architecture.as_str() {
        known @ ("x86_64" | "aarch64") => Check::ok("architecture", known),
        other => Check::failed(
            "architecture",
            other,
            "use an x86-64 or arm64 host: providers pin the packages of these architectures",
        ),
    }
}

pub(super) fn kernel(host: &Host) -> Check {
    match Version::find(&host.kernel) {
        Some(version) if version >= Version::new(MIN_KERNEL) => Check::ok("kernel", &host.kernel),
        _ => Check::failed(
            "kernel",
            &host.kernel,
            "boot Linux 4.19 or newer, which Kubernetes requires",
        ),
    }
}

pub(super) fn init(host: &Host) -> Check {
    Check::ok(
        "init",
        if host.systemd {
            "systemd is PID 1"
        } else {
            "PID 1 is not systemd, which is supported"
        },
    )
}

pub(super) fn capabilities(host: &Host) -> Check {
    let name = "capabilities";
    let missing = NEEDED_CAPABILITIES
        .iter()
        .filter(|(capability, _)| !host.has_capability(capability));
    let missing: Vec<String> = missing
        .map(|(capability, use_)| format!("{capability} ({use_})"))
        .collect();
    if !host.root {
        Check::warning(
            name,
            "not checked: an unprivileged user has none",
            "run parbake as root",
        )
    } else if !missing.is_empty() {
        let found = format!("missing: {}", missing.join(", "));
        Check::failed(
            name,
            found,
            "give the container these capabilities, or run it privileged",
        )
    } else if host.has_capability("CAP_SYS_RESOURCE") {
        Check::ok(name, "all that are needed")
    } else {
        let found = "all but CAP_SYS_RESOURCE: OOM scores of pods cannot be lowered";
        Check::warning(
            name,
            found,
            "give the container CAP_SYS_RESOURCE if the order in which pods are killed matters",
        )
    }
}

pub(super) fn cgroup_layout(host: &Host) -> Check {
    let name = "control groups";
    let read_only: Vec<String> = (host.cgroups.hierarchies.iter())
        .filter(|hierarchy| !hierarchy.writable)
        .map(|hierarchy| hierarchy.mount_point.display().to_string())
        .collect();
    if !read_only.is_empty() {
        let found = format!("read-only: {}", read_only.join(", "));
        return Check::failed(
            name,
            found,
            "remount them writable, or run the container privileged",
        );
    }
    let is_subtree = host
        .cgroups
        .hierarchies
        .iter()
        .any(|hierarchy| hierarchy.is_subtree);
    if is_subtree && host.cgroups.layout == CgroupLayout::V2 {
        return Check::failed(
            name,
            "the container shares the cgroup namespace of its host",
            "run the container with `--cgroupns=private`",
        );
    }
    match host.cgroups.layout {
        CgroupLayout::V1 => Check::ok(name, "version 1"),
        CgroupLayout::Hybrid => Check::ok(name, "version 1 and version 2"),
        CgroupLayout::V2 => Check::ok(name, "version 2"),
        CgroupLayout::Absent => Check::failed(
            name,
            "none are mounted",
            "mount them: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`",
        ),
    }
}

pub(super) fn cgroup_controllers(host: &Host) -> Check {
    // What kubeadm's preflight check requires (k8s.io/system-validators, cgroup_validator_linux.go).
    let needed: &[&str] = match host.cgroups.layout {
        CgroupLayout::V2 => &["cpu", "cpuset", "memory"],
        _ => &["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory"],
    };
    let name = "controllers";
    let missing = |wanted: &[&str]| {
        let missing = wanted
            .iter()
            .filter(|controller| host.cgroups.hierarchy(controller).is_none());
        missing.copied().collect::<Vec<_>>().join(", ")
    };
    let (missing_required, missing_optional) = (missing(needed), missing(&["pids"]));
    if !missing_required.is_empty() {
        let found = format!("missing: {missing_required}");
        Check::failed(
            name,
            found,
            "enable them: kernel command line, or the container's configuration",
        )
    } else if missing_optional.is_empty() {
        Check::ok(name, "all that Kubernetes requires")
    } else {
        let remedy = "enable the controller `pids` to limit the processes of pods";
        Check::warning(
            name,
            "no `pids`: limits on the number of processes have no effect",
            remedy,
        )
    }
}

pub(super) fn namespaces(host: &Host) -> Check {
    let needed = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let missing = needed
        .iter()
        .filter(|kind| !host.namespaces.kinds.contains(**kind));
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        let found = format!("missing: {}", missing.join(", "));
        return Check::failed("namespaces", found, "boot a kernel that has them");
    }
    let remedy = "allow parbake to create namespaces: run the container privileged, without a seccomp filter";
    outcome(
        "namespaces",
        "all kinds that are needed",
        &host.namespaces.create,
        remedy,
    )
}

pub(super) fn overlay(host: &Host) -> Check {
    if host.overlay.kernel == KernelSupport::Missing {
        let remedy =
            "boot a kernel with CONFIG_OVERLAY_FS, or load the module `overlay` on the container's host";
        return Check::failed("overlay", "the kernel has no overlay file system", remedy);
    }
    let dir = host.state_dir.path.display();
    let remedy = format!(
        "keep parbake's state on a disk's ext4 or xfs: a volume instead of a container's own file system at \
         `{dir}`, or another place with `--dir`"
    );
    outcome(
        "overlay",
        &format!("works on the file system of `{dir}`"),
        &host.overlay.state_dir,
        &remedy,
    )
}

pub(super) fn modules(host: &Host) -> Check {
    let modules = host.decide().modules;
    let list = modules.join(", ");
    let remedy = format!(
        "load them by hand, on the container's host if this is one: `modprobe -a {}`",
        modules.join(" ")
    );
    if modules.is_empty() {
        Check::ok("kernel modules", "none to load")
    } else if !host.tools.contains_key("modprobe") {
        Check::failed(
            "kernel modules",
            format!("to load: {list}, but `modprobe` is missing"),
            "install it: `apt-get install kmod`",
        )
    } else if host.root && !host.has_capability("CAP_SYS_MODULE") {
        Check::failed(
            "kernel modules",
            format!("to load: {list}, but CAP_SYS_MODULE is missing"),
            remedy,
        )
    } else {
        Check::ok("kernel modules", format!("to load: {list}"))
    }
}

pub(super) fn selinux(host: &Host) -> Check {
    match host.selinux {
        Selinux::Off => Check::ok("SELinux", "off"),
        Selinux::Permissive => Check::ok("SELinux", "permissive"),
        Selinux::Enforcing => Check::warning(
            "SELinux",
            "enforcing: it may deny what machines do",
            "make it permissive if a cluster fails: `setenforce 0`",
        ),
    }
}
