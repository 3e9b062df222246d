//! A machine's root: an overlay of read-only layers and an upper dir.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, setxattr};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::files::failed;
use super::mount::fd_path;
use crate::Error;

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

/// Hides the content that layers below have in a directory of an upper dir (Linux, filesystems/overlayfs, 'whiteouts and
/// opaque directories').
///
/// # Errors
/// See setxattr(2).
pub fn mark_opaque(dir: &Path) -> Result<(), Error> {
    setxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(failed("mark as opaque", dir))
}
