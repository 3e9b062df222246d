//! A machine's root: an overlay of read-only layers and an upper dir.

use std::ffi::CString;
use std::fs::{self, File};
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
        // By descriptor: mount options are limited to a page, which long paths would exceed, and a comma or colon in a path
        // would end it.
        let open = |path: &Path| File::open(path).map_err(failed("open", path));
        let layers = layers.iter().rev().map(|layer| open(layer));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let lower: Vec<String> = layers.iter().map(fd_path).collect();
        let (upper, work) = (open(upper)?, open(work)?);
        let options = format!(
            "{SELF_CONTAINED},lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            fd_path(&upper),
            fd_path(&work)
        );
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::UnshareFlags;

    use super::Overlay;
    use crate::namespace::unshare;

    #[test]
    fn paths_may_have_any_characters() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(200);
        for name in ["a,b", "a:b", "a\\b", "a b\n%s'\"", long.as_str()] {
            let dir = dir.path().join(name);
            let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|name| dir.join(name));
            fs::create_dir_all(&lower).unwrap();
            fs::write(lower.join("file"), "lower").unwrap();
            thread::scope(|scope| {
                scope.spawn(|| {
                    unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
                    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                    let _mounted = Overlay::mount(&[lower], &upper, &work, &root).unwrap();
                    assert_eq!(
                        fs::read_to_string(root.join("file")).unwrap(),
                        "lower",
                        "{name:?}"
                    );
                    fs::write(root.join("file"), "upper").unwrap();
                });
            });
            assert_eq!(
                fs::read_to_string(upper.join("file")).unwrap(),
                "upper",
                "{name:?}"
            );
        }
    }
}
