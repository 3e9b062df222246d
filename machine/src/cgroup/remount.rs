//! Mounting cgroup hierarchies again, in a container that shares the host's cgroup namespace.
//!
//! There `/proc/self/cgroup` shows paths of the host, such as `/libpod_parent/libpod-1f3a`, but the container's mounts show
//! only that subtree. systemd-nspawn would look for the path below the mount. In a new cgroup namespace both begin at the
//! container's own cgroup.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::mount::{MountFlags, mount};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::fs::files::failed;
use crate::process::unshare;

/// A v1 hierarchy, or the v2 hierarchy of a hybrid host, of which only a subtree is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMount {
    pub mount_point: PathBuf,
    /// The mount options that select a v1 hierarchy; `None` for v2.
    pub v1_options: Option<String>,
}

impl CgroupMount {
    /// Moves the calling thread to the cgroup at the mount point.
    fn join(&self) -> io::Result<()> {
        let file = match self.v1_options {
            Some(_) => "tasks",
            None => "cgroup.procs",
        };
        fs::write(self.mount_point.join(file), "0")
    }

    fn mount(&self) -> io::Result<()> {
        let kind = match self.v1_options {
            Some(_) => "cgroup",
            None => "cgroup2",
        };
        let options = CString::new(self.v1_options.as_deref().unwrap_or_default())?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount(
            kind,
            &self.mount_point,
            kind,
            flags,
            Some(options.as_c_str()),
        )?)
    }
}

/// Moves the calling process, which has one thread and a mount namespace of its own, into a new cgroup namespace, and
/// mounts `hierarchies` again.
pub(crate) fn remount(hierarchies: &[CgroupMount]) -> Result<(), Error> {
    if hierarchies.is_empty() {
        return Ok(());
    }
    // The namespace begins at the cgroups that the process is in.
    for hierarchy in hierarchies {
        let dir = &hierarchy.mount_point;
        hierarchy.join().map_err(failed("join the cgroup", dir))?;
    }
    unshare(UnshareFlags::NEWCGROUP).map_err(crate::error::failed("create a cgroup namespace"))?;
    for hierarchy in hierarchies {
        let dir = &hierarchy.mount_point;
        hierarchy.mount().map_err(failed("mount cgroups at", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::thread;

    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    use rustix::thread::UnshareFlags;

    use super::{CgroupMount, remount};
    use crate::process::unshare;

    #[test]
    fn subtree_of_a_hierarchy_becomes_the_root_of_the_namespace() {
        let mount_point = Path::new("/sys/fs/cgroup/memory");
        if !mount_point.exists() {
            // Hosts with v2 only have no such case.
            return;
        }
        let container = mount_point.join(format!("test-remount-{}", std::process::id()));
        fs::create_dir(&container).unwrap();
        let (group, is_whole) = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                mount_bind(&container, mount_point).unwrap();
                let memory = CgroupMount {
                    mount_point: mount_point.to_owned(),
                    v1_options: Some("memory".to_owned()),
                };
                remount(&[memory]).unwrap();
                let read = |file| fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap();
                let group = read("cgroup")
                    .lines()
                    .find_map(|line| line.split_once(":memory:").map(|(_, group)| group.to_owned()));
                let mounts = read("mountinfo");
                let last = mounts
                    .lines()
                    .rfind(|line| line.contains(" /sys/fs/cgroup/memory "));
                (
                    group,
                    last.is_some_and(|line| line.contains(" / /sys/fs/cgroup/memory ")),
                )
            });
            inside.join().unwrap()
        });
        let removed = fs::remove_dir(&container);
        assert_eq!(group.as_deref(), Some("/"));
        assert!(is_whole);
        removed.unwrap();
    }
}
