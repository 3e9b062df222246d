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
    use std::env;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
    use rustix::thread::UnshareFlags;

    use super::{CgroupMount, remount};
    use crate::namespace::unshare;

    const CONTAINER: &str = "PARBAKE_TEST_CGROUP";

    /// The memory controller's hierarchy, or that of version 2 where version 1 is not mounted.
    fn hierarchy() -> CgroupMount {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        match v1.join("tasks").exists() {
            true => CgroupMount {
                mount_point: v1.to_owned(),
                v1_options: Some("memory".to_owned()),
            },
            false => CgroupMount {
                mount_point: "/sys/fs/cgroup".into(),
                v1_options: None,
            },
        }
    }

    /// What a supervisor does in a container whose cgroup is at `container`.
    fn in_container(container: &Path) {
        let hierarchy = hierarchy();
        let mount_point = hierarchy.mount_point.as_path();
        unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        // A container's own directory of cgroups.
        let subtree = openat(CWD, container, OFlags::PATH, Mode::empty()).unwrap();
        mount(
            "test",
            mount_point.parent().unwrap(),
            "tmpfs",
            MountFlags::empty(),
            None,
        )
        .unwrap();
        fs::create_dir(mount_point).unwrap();
        let subtree = format!("/proc/thread-self/fd/{}", subtree.as_raw_fd());
        mount_bind(subtree, mount_point).unwrap();
        let before = fs::metadata(mount_point).unwrap();
        remount(std::slice::from_ref(&hierarchy)).unwrap();
        let read = |file| fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap();
        let line = match &hierarchy.v1_options {
            Some(name) => format!(":{name}:/"),
            None => "0::/".to_owned(),
        };
        let groups = read("cgroup");
        assert!(groups.lines().any(|group| group.ends_with(&line)), "{groups}");
        let mounts = read("mountinfo");
        let whole = format!(" / {} ", mount_point.display());
        assert!(mounts.lines().any(|mount| mount.contains(&whole)), "{mounts}");
        // The same directory, so it is the container's own.
        let after = fs::metadata(mount_point).unwrap();
        assert_eq!(after.ino(), before.ino());
    }

    /// In version 2 a whole process moves, so the check runs in a child.
    #[test]
    fn subtree_of_a_hierarchy_becomes_the_root_of_the_namespace() {
        if let Some(container) = env::var_os(CONTAINER) {
            return in_container(Path::new(&container));
        }
        let name = format!("test-remount-{}", std::process::id());
        let container = hierarchy().mount_point.join(name);
        fs::create_dir(&container).unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "cgroup::remount::tests::subtree_of_a_hierarchy_becomes_the_root_of_the_namespace",
            ])
            .env(CONTAINER, &container)
            .output()
            .unwrap();
        // The kernel takes a moment to remove the process.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = fs::remove_dir(&container) {
            assert!(Instant::now() < deadline, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
