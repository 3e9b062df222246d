//! Mounting cgroup hierarchies again, in a container that shares the host's cgroup namespace.
//!
//! There `/proc/self/cgroup` shows paths of the host, such as `/libpod_parent/libpod-1f3a`, but the container's mounts show
//! only that subtree. systemd-nspawn would look for the path below the mount. In a new cgroup namespace both begin at the
//! container's own cgroup.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::failed;
use crate::Error;
use crate::namespace::unshare;

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

    /// Replaces the mount: the kernel refuses to mount the same file system over it.
    fn remount(&self) -> io::Result<()> {
        unmount(&self.mount_point, UnmountFlags::DETACH)?;
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
        hierarchy.join().map_err(failed("join", dir))?;
    }
    unshare(UnshareFlags::NEWCGROUP).map_err(crate::error::failed("create a cgroup namespace"))?;
    for hierarchy in hierarchies {
        let dir = &hierarchy.mount_point;
        hierarchy.remount().map_err(failed("mount again", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
    use rustix::thread::UnshareFlags;

    use super::{CgroupMount, remount};
    use crate::namespace::unshare;

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
                // A container's own `/sys/fs/cgroup`.
                let subtree = openat(CWD, &container, OFlags::PATH, Mode::empty()).unwrap();
                mount("test", "/sys/fs/cgroup", "tmpfs", MountFlags::empty(), None).unwrap();
                fs::create_dir(mount_point).unwrap();
                mount_bind(
                    format!("/proc/thread-self/fd/{}", subtree.as_raw_fd()),
                    mount_point,
                )
                .unwrap();
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
            inside.join().unwrap_or_default()
        });
        // The kernel takes a moment to remove the thread.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = fs::remove_dir(&container) {
            assert!(Instant::now() < deadline, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(group.as_deref(), Some("/"));
        assert!(is_whole);
    }
}
