//! Mounts: a machine's root of read-only layers and an upper dir, bind mounts, file systems in memory.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, XattrFlags, openat, setxattr};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::thread::UnshareFlags;

use crate::Error;
use crate::fs::files::failed;
use crate::process::unshare;

/// Keeps everything but whiteouts and opaque directories out of an upper dir, so that it means the same on every host: no
/// redirects, no metadata-only copies, no index of inode numbers.
const SELF_CONTAINED: &str = "redirect_dir=off,metacopy=off,index=off,xino=off";

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    root: PathBuf,
}

impl Overlay {
    /// Mounts `layers` (bottom first) below `upper` at `root`. `work` must be empty and on the file system of `upper`. The
    /// three directories are created if they are missing.
    ///
    /// # Errors
    /// A directory could not be opened or created, or see mount(2).
    pub fn mount(layers: &[PathBuf], upper: &Path, work: &Path, root: &Path) -> Result<Self, Error> {
        for dir in [upper, work, root] {
            fs::create_dir_all(dir).map_err(failed("create", dir))?;
        }
        // By descriptor: mount options are limited to a page, which long paths would exceed.
        let open = |path: &PathBuf| File::open(path).map_err(failed("open the layer", path));
        let layers = layers.iter().rev().map(open).collect::<Result<Vec<_>, _>>()?;
        let lower: Vec<String> = layers.iter().map(fd_path).collect();
        let mut options = format!("{SELF_CONTAINED},lowerdir={},upperdir=", lower.join(":")).into_bytes();
        options.extend_from_slice(upper.as_os_str().as_bytes());
        options.extend_from_slice(b",workdir=");
        options.extend_from_slice(work.as_os_str().as_bytes());
        let act = "mount an overlay at";
        let options = CString::new(options).map_err(failed(act, root))?;
        mount(
            "parbake",
            root,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .map_err(failed(act, root))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.root, UnmountFlags::DETACH) {
            tracing::warn!(root = %self.root.display(), %error, "could not unmount");
        }
    }
}

/// A path of an open file for this process.
fn fd_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Mounts the open directory or file `from` over the open `to`, with the mounts below it, unless it is read-only: a
/// read-only mount does not cover mounts below it.
///
/// # Errors
/// See mount(2).
pub fn bind(from: &OwnedFd, to: &OwnedFd, read_only: bool) -> Result<(), Error> {
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
pub fn tmpfs(at: &Path, bytes: u64) -> Result<(), Error> {
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

/// Hides the content that layers below have in a directory of an upper dir (Linux, filesystems/overlayfs, 'whiteouts and
/// opaque directories').
///
/// # Errors
/// See setxattr(2).
pub fn mark_opaque(dir: &Path) -> Result<(), Error> {
    setxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(failed("mark as opaque", dir))
}

/// The host's `/run`, which is covered by an empty one in the supervisor's mount namespace.
#[derive(Debug)]
pub struct HostRun(OwnedFd);

impl HostRun {
    /// Opens a directory or file of the host for a bind mount. `path` is absolute and has no symbolic links.
    ///
    /// # Errors
    /// See open(2).
    pub fn open(&self, path: &Path) -> io::Result<OwnedFd> {
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
pub fn private_mounts() -> Result<HostRun, Error> {
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
