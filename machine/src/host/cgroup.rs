//! The cgroup hierarchies of the host, and this process's own cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, MountInfos};
use procfs::{FromRead, ProcResult, ProcessCGroup, ProcessCGroups};
use serde::{Deserialize, Serialize};

/// Where every distribution mounts cgroups.
const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup versions of the host, as systemd names them (systemd.io/CGROUP_DELEGATION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupLayout {
    /// No hierarchy is mounted.
    Absent,
    /// v1 only: one hierarchy for each controller or set of controllers.
    V1,
    /// v1 with all controllers, and v2 without any.
    Hybrid,
    /// v2 only, at `/sys/fs/cgroup`.
    V2,
}

/// The cgroups of the host (cgroups(7)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    pub layout: CgroupLayout,
    /// The mounted hierarchies: v1 in the kernel's order, then v2.
    pub hierarchies: Vec<Hierarchy>,
}

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// 1 or 2.
    pub version: u8,
    /// As in `/proc/self/cgroup`; `name=NAME` for a named hierarchy without controllers.
    pub controllers: Vec<String>,
    pub mount_point: PathBuf,
    /// The directory of this process's own cgroup, at or below `mount_point`.
    pub own: PathBuf,
    /// Only a subtree is mounted, which is not the root of this process's cgroup namespace: the container shares that of
    /// its host.
    #[serde(default)]
    pub is_subtree: bool,
    pub writable: bool,
}

impl Cgroups {
    /// Reads this process's mounts and cgroups.
    pub(super) fn probe() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let unified = |mount_point: &Path| {
            let controllers = fs::read_to_string(mount_point.join("cgroup.controllers")).unwrap_or_default();
            controllers.split_whitespace().map(str::to_owned).collect()
        };
        // Files that cannot be parsed count as no cgroups, which the checks report.
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), unified).unwrap_or(Self {
            layout: CgroupLayout::Absent,
            hierarchies: Vec::new(),
        })
    }

    /// Parses `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5)). `unified` returns the v2 controllers at a mount
    /// point.
    fn parse(mounts: &str, groups: &str, unified: impl Fn(&Path) -> Vec<String>) -> ProcResult<Self> {
        let mounts = MountInfos::from_read(mounts.as_bytes())?.0;
        let mut groups = ProcessCGroups::from_read(groups.as_bytes())?.0;
        // The kernel lists v2 as hierarchy 0, and the newest hierarchy first.
        groups.sort_by_key(|group| (group.hierarchy == 0, group.hierarchy));
        let hierarchies: Vec<Hierarchy> = groups
            .iter()
            .filter_map(|group| {
                let mount = mount_of(group, &mounts)?;
                let version = if group.hierarchy == 0 { 2 } else { 1 };
                let controllers = if version == 2 {
                    unified(&mount.mount_point)
                } else {
                    group.controllers.clone()
                };
                Some(Hierarchy {
                    version,
                    controllers,
                    mount_point: mount.mount_point.clone(),
                    own: own_dir(group, mount),
                    is_subtree: is_subtree(mount),
                    writable: !mount.mount_options.contains_key("ro"),
                })
            })
            .collect();
        let at_root = mounts
            .iter()
            .rev()
            .find(|mount| mount.mount_point == Path::new(ROOT));
        let layout = if at_root.is_some_and(|mount| mount.fs_type == "cgroup2") {
            CgroupLayout::V2
        } else {
            match (hierarchies.first(), hierarchies.last()) {
                (Some(first), Some(last)) if first.version == 1 && last.version == 2 => CgroupLayout::Hybrid,
                (Some(first), _) if first.version == 1 => CgroupLayout::V1,
                (Some(_), _) => CgroupLayout::V2,
                (None, _) => CgroupLayout::Absent,
            }
        };
        Ok(Self { layout, hierarchies })
    }

    /// The hierarchy of `controller`.
    pub fn hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// The v2 hierarchy, which has no controllers on a hybrid host.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == 2)
    }
}

/// The mount of a hierarchy, preferably the one below `/sys/fs/cgroup`.
fn mount_of<'a>(group: &ProcessCGroup, mounts: &'a [MountInfo]) -> Option<&'a MountInfo> {
    let is_hierarchy = |mount: &&MountInfo| match (mount.fs_type.as_str(), group.hierarchy) {
        ("cgroup2", 0) => true,
        ("cgroup", 1..) => {
            group
                .controllers
                .iter()
                .all(|controller| match controller.strip_prefix("name=") {
                    Some(name) => mount.super_options.get("name") == Some(&Some(name.to_owned())),
                    None => mount.super_options.contains_key(controller),
                })
        }
        _ => false,
    };
    let below_root = |mount: &&MountInfo| mount.mount_point.starts_with(ROOT);
    mounts
        .iter()
        .filter(is_hierarchy)
        .find(below_root)
        .or_else(|| mounts.iter().find(is_hierarchy))
}

/// A path that begins with `/..` is outside of the namespace.
fn is_subtree(mount: &MountInfo) -> bool {
    mount.root != "/" && !mount.root.starts_with("/..")
}

/// In a container without a cgroup namespace the mount shows only the container's own subtree.
fn own_dir(group: &ProcessCGroup, mount: &MountInfo) -> PathBuf {
    let own = Path::new(&group.pathname);
    let below = own.strip_prefix(&mount.root).unwrap_or(Path::new(""));
    mount.mount_point.join(below.strip_prefix("/").unwrap_or(below))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CgroupLayout, Cgroups};

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory ro,nosuid shared:13 - cgroup cgroup rw,memory
";
    const HYBRID_GROUPS: &str =
        "4:memory:/user.slice\n3:cpu,cpuacct:/\n1:name=systemd:/user.slice/s1.scope\n0::/x\n";

    fn parse(mounts: &str, groups: &str) -> Cgroups {
        Cgroups::parse(mounts, groups, |_| vec!["cpu".to_owned(), "memory".to_owned()]).unwrap()
    }

    #[test]
    fn layouts_are_told_apart() {
        let v1_only = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .collect::<Vec<_>>()
            .join("\n");
        let cases = [
            ("version 2", V2.to_owned(), "0::/user.slice", CgroupLayout::V2),
            ("hybrid", HYBRID.to_owned(), HYBRID_GROUPS, CgroupLayout::Hybrid),
            ("version 1", v1_only, HYBRID_GROUPS, CgroupLayout::V1),
            (
                "version 2 with an additional v1 hierarchy",
                format!("{V2}35 30 0:31 / /mnt/old rw - cgroup cgroup rw,name=elogind\n"),
                "1:name=elogind:/\n0::/",
                CgroupLayout::V2,
            ),
            ("no mounts", String::new(), "0::/", CgroupLayout::Absent),
        ];
        for (name, mounts, groups, layout) in cases {
            assert_eq!(parse(&mounts, groups).layout, layout, "{name}");
        }
    }

    #[test]
    fn every_hierarchy_and_its_own_cgroup_are_found() {
        let cgroups = parse(HYBRID, HYBRID_GROUPS);
        let found: Vec<_> = cgroups
            .hierarchies
            .iter()
            .map(|h| {
                (
                    h.version,
                    h.controllers.join(","),
                    h.own.to_str().unwrap(),
                    h.writable,
                )
            })
            .collect();
        let expected = [
            (
                1,
                "name=systemd".to_owned(),
                "/sys/fs/cgroup/systemd/user.slice/s1.scope",
                true,
            ),
            (1, "cpu,cpuacct".to_owned(), "/sys/fs/cgroup/cpu,cpuacct/", true),
            (1, "memory".to_owned(), "/sys/fs/cgroup/memory/user.slice", false),
            (2, "cpu,memory".to_owned(), "/sys/fs/cgroup/unified/x", true),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            cgroups.hierarchy("cpuacct").unwrap().mount_point,
            Path::new("/sys/fs/cgroup/cpu,cpuacct")
        );
    }

    #[test]
    fn container_sees_only_its_own_subtree() {
        let mounts = V2.replace("0:26 / ", "0:26 /docker/abc ");
        let own = |group: &str| parse(&mounts, group).hierarchies[0].own.clone();
        assert_eq!(own("0::/docker/abc"), Path::new("/sys/fs/cgroup/"));
        assert_eq!(own("0::/docker/abc/sub"), Path::new("/sys/fs/cgroup/sub"));
        let is_subtree = |mounts: &str| parse(mounts, "0::/docker/abc").hierarchies[0].is_subtree;
        assert!(is_subtree(&mounts) && !is_subtree(V2));
        assert!(!is_subtree(&V2.replace("0:26 / ", "0:26 /../.. ")));
    }
}
