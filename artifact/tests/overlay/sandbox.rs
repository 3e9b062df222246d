//! Private mounts.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// The options of machines' overlays.
const OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off,xino=off";

/// Runs `test` on a thread with its own mount namespace.
pub(crate) fn in_own_mounts(test: impl FnOnce() + Send) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test mounts file systems: run it as root"
    );
    std::thread::scope(|scope| {
        let run = || {
            // A new mount namespace needs an unshared root and working directory.
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, flags, none).unwrap();
            test();
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// An overlay, unmounted on drop.
pub(crate) struct Overlay {
    merged: PathBuf,
}

impl Overlay {
    /// `lower` is topmost first.
    pub(crate) fn writable(lower: &[PathBuf], upper: &Path, work: &Path, merged: &Path) -> Self {
        Self::mount(
            lower,
            &format!(",upperdir={},workdir={}", upper.display(), work.display()),
            merged,
        )
    }

    pub(crate) fn read_only(lower: &[PathBuf], merged: &Path) -> Self {
        Self::mount(lower, "", merged)
    }

    fn mount(lower: &[PathBuf], upper: &str, merged: &Path) -> Self {
        let lower: Vec<_> = lower.iter().map(|dir| dir.display().to_string()).collect();
        let options = format!("lowerdir={}{upper},{OPTIONS}", lower.join(":"));
        mount(
            Some("overlay"),
            merged,
            Some("overlay"),
            MsFlags::empty(),
            Some(&options[..]),
        )
        .unwrap();
        Self {
            merged: merged.to_owned(),
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        umount2(&self.merged, MntFlags::empty()).unwrap();
    }
}
