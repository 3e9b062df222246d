//! Bind mounts, file systems in memory, and the supervisor's mount namespace.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount,
};
use rustix::thread::UnshareFlags;

use super::files::failed;
use crate::Error;
use crate::namespace::unshare;

/// A path of an open file for this process.
pub(super) fn fd_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Mounts the open directory or file `from` over the open `to`, with the mounts below it, unless it is read-only: a
/// read-only mount does not cover mounts below it.
///
/// # Errors
/// See mount(2).
pub(crate) fn bind(from: &OwnedFd, to: &OwnedFd, read_only: bool) -> Result<(), Error> {
    let source = fd_path(from);
    let link = PathBuf::from(fd_path(to));
    // The open `to` is below the mount, so that the second step needs a path.
    let target = fs::read_link(&link).map_err(failed("find the path of", &link))?;
    let mounted = match read_only {
        true => mount_bind(&source, &target),
        false => mount_bind_recursive(&source, &target),
    };
    mounted.map_err(failed("bind a directory or file to", &target))?;
    if read_only {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(&target, flags, "").map_err(failed("make read-only", &target))?;
    }
    Ok(())
}

/// Mounts an empty file system in memory of at most `bytes` at `at`.
///
/// # Errors
/// See mount(2).
pub(crate) fn tmpfs(at: &Path, bytes: u64) -> Result<(), Error> {
    mount_tmpfs(at, &format!("mode=755,size={bytes}")).map_err(failed("mount a tmpfs at", at))
}

fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options)?;
    Ok(mount(
        "parbake",
        at,
        "tmpfs",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )?)
}

/// The host's `/run`, which is covered by an empty one in the supervisor's mount namespace.
#[derive(Debug)]
pub(crate) struct HostRun(OwnedFd);

impl HostRun {
    /// Opens a directory or file of the host for a bind mount. `path` is absolute and has no symbolic links.
    ///
    /// # Errors
    /// See open(2).
    pub(crate) fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = match path.strip_prefix("/run") {
            Ok(below) if below.as_os_str().is_empty() => openat(&self.0, ".", flags, Mode::empty()),
            Ok(below) => openat(&self.0, below, flags, Mode::empty()),
            Err(_) => openat(CWD, path, flags, Mode::empty()),
        };
        Ok(opened?)
    }
}

/// Moves the calling process into a mount namespace that receives mounts of the host but does not propagate its own, with
/// an empty `/run`, so that systemd-nspawn leaves no files on the host.
///
/// # Errors
/// See unshare(2) and mount(2).
pub(crate) fn private_mounts() -> Result<HostRun, Error> {
    let (root, run) = (Path::new("/"), Path::new("/run"));
    unshare(UnshareFlags::NEWNS).map_err(failed("leave the mount namespace of", root))?;
    let flags = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    mount_change(root, flags).map_err(failed("detach the mounts below", root))?;
    // Opened in the new namespace: mounts of another one cannot be bound.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host_run = openat(CWD, run, flags, Mode::empty()).map_err(failed("open", run))?;
    mount_tmpfs(run, "mode=755").map_err(failed("mount a tmpfs at", run))?;
    Ok(HostRun(host_run))
}
