//! What parbake does differently because of the host it is on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Host;
use super::cgroup::CgroupLayout;
use super::kernel::KernelSupport;

/// The directory of parbake's control groups, in every hierarchy.
const CGROUP: &str = "parbake";
/// What several clusters of three machines need; kind and minikube recommend the same.
pub(super) const INOTIFY_INSTANCES: u64 = 512;
/// As above.
pub(super) const INOTIFY_WATCHES: u64 = 65_536;

/// What follows from the facts about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSettings {
    /// Set `restrict_oom_score_adj = true` for containerd's CRI plugin. Without `CAP_SYS_RESOURCE` no process may
    /// lower its `oom_score_adj`, runc fails to, and no pod starts. Left off elsewhere, since it weakens the kubelet's
    /// order of who is killed first.
    pub restrict_oom_score_adj: bool,
    /// Set `disable_apparmor = true` for containerd's CRI plugin: the host has AppArmor, but a machine has neither
    /// its parser nor its interface, so no profile could be loaded there.
    pub disable_apparmor: bool,
    /// Environment variables for systemd-nspawn itself.
    pub nspawn_env: Vec<(String, String)>,
    /// Environment variables for PID 1 of a machine (`--setenv`).
    pub machine_env: Vec<(String, String)>,
    /// Remount each version 1 hierarchy inside a machine writable (`mount -o remount,rw,bind`) before containerd
    /// starts: systemd-nspawn hands them over read-only, all but `name=systemd`.
    pub remount_v1_rw: bool,
    /// Where the machines' control groups are made.
    pub cgroups: CgroupPlan,
    /// Kernel modules to load before a cluster starts: present as files, needed, and not there yet.
    pub modules: Vec<String>,
    /// Limits of the kernel that are too low for several clusters at once, and what to raise them to.
    pub limits: Vec<KernelLimit>,
}

/// Where the machines' control groups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupPlan {
    /// Version 1 and hybrid: one directory for each machine in *every* hierarchy, below these. A machine's process
    /// joins all of them before the `exec`, so that its cgroup namespace hides every other machine's. In a `cpuset`
    /// hierarchy (see [`Hierarchy`](super::Hierarchy)) `cpuset.cpus` and `cpuset.mems` must be copied from the parent
    /// first, level by level, or no process can join.
    EachHierarchy(Vec<PathBuf>),
    /// Version 2 without systemd as PID 1: one directory for each machine below `parent`.
    Unified {
        /// The directory to make; its controllers come from the `cgroup.subtree_control` of all those above it.
        parent: PathBuf,
        /// The controllers to hand down.
        controllers: Vec<String>,
        /// The hierarchy's root may be a container's, not the kernel's, and controllers cannot be handed down from
        /// there while it holds processes ('no internal processes'): they move to this leaf when the kernel refuses.
        leaf: PathBuf,
    },
    /// Version 2 with systemd as PID 1, which owns the hierarchy: the cluster's supervisor runs in a scope of its own
    /// (`systemd-run --scope --property=Delegate=yes`), below which parbake may do as it likes.
    DelegatedScope {
        /// The controllers to hand down inside the scope.
        controllers: Vec<String>,
    },
}

/// A limit of the kernel that is too low.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLimit {
    /// Its name for sysctl(8), such as `fs.inotify.max_user_instances`.
    pub name: String,
    /// The value it should have at least.
    pub at_least: u64,
}

impl KernelLimit {
    /// The file in `/proc/sys` that holds the limit.
    pub fn path(&self) -> PathBuf {
        Path::new("/proc/sys").join(self.name.replace('.', "/"))
    }
}

impl Host {
    /// Whether the effective set holds the capability, such as `CAP_SYS_RESOURCE`.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities.contains(name)
    }

    /// Decides what has to be different on this host.
    pub fn decide(&self) -> HostSettings {
        let v1 = matches!(self.cgroups.layout, CgroupLayout::V1 | CgroupLayout::Hybrid);
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        HostSettings {
            restrict_oom_score_adj: !self.has_capability("CAP_SYS_RESOURCE"),
            disable_apparmor: self.apparmor,
            nspawn_env: vec![
                // The machine gets the layout of the host, whatever the version of systemd inside.
                set("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", if v1 { "0" } else { "1" }),
                // /proc/sys and /sys are the kubelet's and kube-proxy's to write.
                set("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "yes"),
            ],
            // systemd 256 and newer refuses version 1 unless told so.
            machine_env: if v1 {
                vec![set("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE", "1")]
            } else {
                Vec::new()
            },
            remount_v1_rw: v1,
            cgroups: self.cgroup_plan(),
            modules: self.missing_modules(),
            limits: self.low_limits(),
        }
    }

    fn cgroup_plan(&self) -> CgroupPlan {
        let unified = match (self.cgroups.layout, self.cgroups.unified()) {
            (CgroupLayout::V2, Some(unified)) => unified,
            _ => {
                let below = |mount: &PathBuf| mount.join(CGROUP);
                let mounts = self
                    .cgroups
                    .hierarchies
                    .iter()
                    .map(|hierarchy| below(&hierarchy.mount_point));
                return CgroupPlan::EachHierarchy(mounts.collect());
            }
        };
        let controllers = unified.controllers.clone();
        if self.systemd {
            CgroupPlan::DelegatedScope { controllers }
        } else {
            let [parent, leaf] = [CGROUP, "parbake-host"].map(|name| unified.mount_point.join(name));
            CgroupPlan::Unified {
                parent,
                controllers,
                leaf,
            }
        }
    }

    fn missing_modules(&self) -> Vec<String> {
        let modules = [
            ("overlay", self.overlay.kernel),
            ("nf_conntrack", self.network.conntrack),
            ("br_netfilter", self.network.bridge_netfilter),
        ];
        let loadable = modules
            .iter()
            .filter(|(_, support)| *support == KernelSupport::Loadable);
        loadable.map(|(name, _)| (*name).to_owned()).collect()
    }

    fn low_limits(&self) -> Vec<KernelLimit> {
        let limits = [
            (
                "fs.inotify.max_user_instances",
                self.limits.inotify_instances,
                INOTIFY_INSTANCES,
            ),
            (
                "fs.inotify.max_user_watches",
                self.limits.inotify_watches,
                INOTIFY_WATCHES,
            ),
        ];
        let low = limits
            .iter()
            .filter(|(_, value, least)| value.is_some_and(|value| value < *least));
        low.map(|(name, _, least)| KernelLimit {
            name: (*name).to_owned(),
            at_least: *least,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{CgroupPlan, KernelLimit};
    use crate::host::KernelSupport;
    use crate::host::samples::{hybrid_container, v1, v2_container, v2_systemd};

    #[test]
    fn a_plain_host_needs_nothing_special() {
        let decisions = v2_systemd().decide();
        assert!(!decisions.restrict_oom_score_adj && !decisions.remount_v1_rw);
        assert_eq!(
            decisions.nspawn_env[0],
            ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY".into(), "1".into())
        );
        assert_eq!(
            (decisions.machine_env, decisions.modules, decisions.limits),
            (vec![], vec![], vec![])
        );
        let controllers = ["cpuset", "cpu", "io", "memory", "pids"]
            .map(String::from)
            .to_vec();
        assert_eq!(decisions.cgroups, CgroupPlan::DelegatedScope { controllers });
    }

    #[test]
    fn a_container_with_both_versions_and_few_capabilities() {
        let decisions = hybrid_container().decide();
        assert!(decisions.restrict_oom_score_adj && decisions.remount_v1_rw);
        assert_eq!(decisions.nspawn_env[0].1, "0");
        assert_eq!(decisions.machine_env[0].0, "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE");
        let limit = KernelLimit {
            name: "fs.inotify.max_user_instances".into(),
            at_least: 512,
        };
        assert_eq!(
            limit.path(),
            PathBuf::from("/proc/sys/fs/inotify/max_user_instances")
        );
        assert_eq!(decisions.limits, [limit]);
    }

    #[test]
    fn every_hierarchy_of_version_1_gets_a_directory() {
        let dirs = |names: &[&str]| {
            CgroupPlan::EachHierarchy(
                names
                    .iter()
                    .map(|name| PathBuf::from(format!("/sys/fs/cgroup/{name}/parbake")))
                    .collect(),
            )
        };
        let controllers = [
            "systemd",
            "cpu,cpuacct",
            "cpuset",
            "memory",
            "devices",
            "freezer",
            "pids",
        ];
        assert_eq!(v1().decide().cgroups, dirs(&controllers));
        let both = [&controllers[..], &["unified"]].concat();
        assert_eq!(hybrid_container().decide().cgroups, dirs(&both));
    }

    #[test]
    fn version_2_without_systemd_is_parbakes_own() {
        let CgroupPlan::Unified { parent, leaf, .. } = v2_container().decide().cgroups else {
            panic!("not unified")
        };
        assert_eq!(parent, PathBuf::from("/sys/fs/cgroup/parbake"));
        assert_eq!(leaf, PathBuf::from("/sys/fs/cgroup/parbake-host"));
    }

    #[test]
    fn only_modules_that_can_be_loaded_are() {
        let mut host = v2_systemd();
        host.overlay.kernel = KernelSupport::Loadable;
        host.network.bridge_netfilter = KernelSupport::Missing;
        assert_eq!(host.decide().modules, ["overlay"]);
    }
}
