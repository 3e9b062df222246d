//! What parbake does differently depending on the host.

use std::path::{Path, PathBuf};

use super::Host;
use super::cgroup::{CgroupLayout, Hierarchy};
use super::kernel::KernelSupport;
use crate::cgroup::{CgroupMount, CgroupPlan};
use crate::plan::{HostSettings, KernelLimit};

/// The directory of parbake's cgroups, in every hierarchy.
const CGROUP: &str = "parbake";
/// Enough for several clusters of three machines; the values that kind and minikube recommend.
pub(super) const INOTIFY_INSTANCES: u64 = 512;
pub(super) const INOTIFY_WATCHES: u64 = 65_536;

impl KernelLimit {
    /// The file of the limit.
    pub fn path(&self) -> PathBuf {
        Path::new("/proc/sys").join(self.name.replace('.', "/"))
    }
}

impl Host {
    /// True if the effective set holds the capability, such as `CAP_SYS_RESOURCE`.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities.contains(name)
    }

    /// The settings that this host needs.
    pub fn decide(&self) -> HostSettings {
        let v1 = matches!(self.cgroups.layout, CgroupLayout::V1 | CgroupLayout::Hybrid);
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        HostSettings {
            restrict_oom_score_adj: !self.has_capability("CAP_SYS_RESOURCE"),
            disable_apparmor: self.apparmor,
            nspawn_env: vec![
                // The machine gets the layout of the host, whatever its version of systemd.
                set("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", if v1 { "0" } else { "1" }),
                // The kubelet and kube-proxy write to /proc/sys and /sys.
                set("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "yes"),
            ],
            // systemd 256 and newer refuses v1 otherwise.
            machine_env: if v1 {
                vec![set("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE", "1")]
            } else {
                Vec::new()
            },
            remount_v1_rw: v1,
            cgroups: self.cgroup_plan(),
            remount_cgroups: self.remounts(),
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

    fn remounts(&self) -> Vec<CgroupMount> {
        let subtrees = self.cgroups.hierarchies.iter();
        let subtrees = subtrees.filter(|hierarchy| hierarchy.is_subtree);
        let remount = |hierarchy: &Hierarchy| CgroupMount {
            mount_point: hierarchy.mount_point.clone(),
            v1_options: (hierarchy.version == 1).then(|| match hierarchy.controllers.as_slice() {
                [name] if name.starts_with("name=") => format!("none,{name}"),
                controllers => controllers.join(","),
            }),
        };
        subtrees.map(remount).collect()
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

    use crate::cgroup::CgroupPlan;
    use crate::host::KernelSupport;
    use crate::host::samples::{hybrid_container, v1, v2_container, v2_systemd};
    use crate::plan::KernelLimit;

    #[test]
    fn complete_host_needs_no_special_settings() {
        let settings = v2_systemd().decide();
        assert!(!settings.restrict_oom_score_adj && !settings.remount_v1_rw);
        assert_eq!(
            settings.nspawn_env[0],
            ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY".into(), "1".into())
        );
        assert_eq!(
            (settings.machine_env, settings.modules, settings.limits),
            (vec![], vec![], vec![])
        );
        let controllers = ["cpuset", "cpu", "io", "memory", "pids"]
            .map(String::from)
            .to_vec();
        assert_eq!(settings.cgroups, CgroupPlan::DelegatedScope { controllers });
    }

    #[test]
    fn hybrid_container_with_few_capabilities() {
        let settings = hybrid_container().decide();
        assert!(settings.restrict_oom_score_adj && settings.remount_v1_rw);
        assert_eq!(settings.nspawn_env[0].1, "0");
        assert_eq!(settings.machine_env[0].0, "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE");
        let limit = KernelLimit {
            name: "fs.inotify.max_user_instances".into(),
            at_least: 512,
        };
        assert_eq!(
            limit.path(),
            PathBuf::from("/proc/sys/fs/inotify/max_user_instances")
        );
        assert_eq!(settings.limits, [limit]);
    }

    #[test]
    fn every_v1_hierarchy_gets_a_directory() {
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
    fn v2_without_systemd_gets_a_directory() {
        let CgroupPlan::Unified { parent, leaf, .. } = v2_container().decide().cgroups else {
            panic!("not unified")
        };
        assert_eq!(parent, PathBuf::from("/sys/fs/cgroup/parbake"));
        assert_eq!(leaf, PathBuf::from("/sys/fs/cgroup/parbake-host"));
    }

    #[test]
    fn container_in_the_hosts_cgroup_namespace_mounts_hierarchies_again() {
        let mut host = hybrid_container();
        assert_eq!(host.decide().remount_cgroups, []);
        for hierarchy in &mut host.cgroups.hierarchies {
            hierarchy.is_subtree = true;
        }
        let remounts = host.decide().remount_cgroups;
        let options: Vec<_> = remounts.iter().map(|mount| mount.v1_options.as_deref()).collect();
        let expected = [
            "none,name=systemd",
            "cpu,cpuacct",
            "cpuset",
            "memory",
            "devices",
            "freezer",
            "pids",
        ];
        let expected = expected.map(Some).into_iter().chain([None]);
        assert_eq!(options, expected.collect::<Vec<_>>());
        assert_eq!(remounts[3].mount_point, PathBuf::from("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn only_loadable_modules_are_loaded() {
        let mut host = v2_systemd();
        host.overlay.kernel = KernelSupport::Loadable;
        host.network.bridge_netfilter = KernelSupport::Missing;
        assert_eq!(host.decide().modules, ["overlay"]);
    }
}
