//! A machine's root: read-only layers below, what the cluster writes above.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{XattrFlags, setxattr};

use crate::files::{Error, failed};

/// Keeps an upper dir free of anything but whiteouts and opaque directories, so that it means the same wherever it
/// is thawed: no redirects, no metadata-only copies, no index of inode numbers.
const SELF_CONTAINED: &str = "redirect_dir=off,metacopy=off,index=off,xino=off";

/// A mounted overlay; unmounted when dropped.
#[derive(Debug)]
pub struct Overlay {
    root: PathBuf,
}

impl Overlay {
    /// Mounts `layers` (bottom first) below `upper` at `root`. `work` must be empty and on the file system of `upper`;
    /// the three directories are made where they are missing.
    ///
    /// # Errors
    /// The directory that could not be opened or made, or what mount(2) says.
    pub fn mount(layers: &[PathBuf], upper: &Path, work: &Path, root: &Path) -> Result<Self, Error> {
        for dir in [upper, work, root] {
            fs::create_dir_all(dir).map_err(failed("make", dir))?;
        }
        // By descriptor: mount options are limited to a page, which long paths would fill.
        let open = |path: &PathBuf| File::open(path).map_err(failed("open the layer", path));
        let layers = layers.iter().rev().map(open).collect::<Result<Vec<_>, _>>()?;
        let lower: Vec<String> = layers
            .iter()
            .map(|dir| format!("/proc/self/fd/{}", dir.as_raw_fd()))
            .collect();
        let mut options = OsString::from(format!("{SELF_CONTAINED},lowerdir={},upperdir=", lower.join(":")));
        options.push(upper);
        options.push(",workdir=");
        options.push(work);
        let act = "mount an overlay at";
        let options = CString::new(options.into_encoded_bytes())
            .map_err(|_| failed(act, root)(io::Error::from(io::ErrorKind::InvalidInput)))?;
        mount(
            Some("parbake"),
            root,
            Some("overlay"),
            MsFlags::empty(),
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
        if let Err(error) = umount2(&self.root, MntFlags::MNT_DETACH) {
            tracing::warn!(root = %self.root.display(), %error, "could not unmount");
        }
    }
}

/// Mounts the directory or file `from` over the open `to` as well: with what is mounted below it, unless it is to be only
/// read, since the write protection of a mount covers no other.
///
/// # Errors
/// What mount(2) says.
pub fn bind(from: &Path, to: &OwnedFd, read_only: bool) -> Result<(), Error> {
    let (nothing, target) = (
        None::<&str>,
        PathBuf::from(format!("/proc/self/fd/{}", to.as_raw_fd())),
    );
    // The link names the directory below the mount: for the second step the path itself is needed.
    let target = fs::read_link(&target).map_err(failed("look up where to mount", from))?;
    let below = if read_only {
        MsFlags::empty()
    } else {
        MsFlags::MS_REC
    };
    let flags = MsFlags::MS_BIND | below;
    mount(Some(from), &target, nothing, flags, nothing)
        .map_err(failed("bind a directory or file at", &target))?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(nothing, &target, nothing, flags, nothing).map_err(failed("write-protect", &target))?;
    }
    Ok(())
}

/// Mounts an empty directory in memory at `at` that takes `bytes` at most.
///
/// # Errors
/// What mount(2) says.
pub fn tmpfs(at: &Path, bytes: u64) -> Result<(), Error> {
    let options = format!("mode=755,size={bytes}");
    mount(
        Some("parbake"),
        at,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(failed("mount memory at", at))
}

/// Keeps a directory of an upper dir from showing what layers below have in it (Linux, filesystems/overlayfs, 'whiteouts
/// and opaque directories').
///
/// # Errors
/// What setxattr(2) says.
pub fn hide_below(dir: &Path) -> Result<(), Error> {
    setxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(failed("mark", dir))
}

/// Gives the calling process a mount namespace of its own that takes mounts of the host but hands none back, with
/// an empty `/run` so that systemd-nspawn leaves no file on the host.
///
/// # Errors
/// What unshare(2) or mount(2) says.
pub fn private_mounts() -> Result<(), Error> {
    let (root, run, nothing) = (Path::new("/"), Path::new("/run"), None::<&str>);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(failed("leave the mount namespace of", root))?;
    mount(
        nothing,
        root,
        nothing,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        nothing,
    )
    .map_err(failed("detach the mounts below", root))?;
    mount(
        Some("parbake"),
        run,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .map_err(failed("mount an empty", run))
}
