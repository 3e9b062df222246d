//! The directory that a machine owns.
//!
//! ```text
//! DIR/
//! ├── upper/         what the machine wrote over its layers: what a freeze packs
//! ├── work/          overlayfs's own
//! ├── plain/         directories that cannot be on an overlay, by their path: plain/var/lib/containerd
//! ├── memory/        directories that are in memory, by their path, inside the supervisor's mount namespace
//! ├── returning/     one of them on its way back to `upper`
//! ├── root/          where the root is mounted, inside the supervisor's mount namespace
//! └── console.log    what the machine's init printed
//! ```

use std::path::{Path, PathBuf};

/// Paths below a machine's own directory.
#[derive(Debug, Clone, Copy)]
pub struct Dirs<'a>(pub &'a Path);

impl Dirs<'_> {
    /// What the machine wrote over its layers.
    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// Overlayfs's own.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// The plain directory that stands at `path` of the machine's root.
    pub fn plain(&self, path: &Path) -> PathBuf {
        self.0.join("plain").join(path)
    }

    /// Where the directory at `path` of the machine's root is in memory.
    pub fn memory(&self, path: &Path) -> PathBuf {
        self.0.join("memory").join(path)
    }

    /// A directory that was in memory, on its way back to [`Self::upper`].
    pub fn returning(&self) -> PathBuf {
        self.0.join("returning")
    }

    /// Where the root is mounted.
    pub fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// What the machine's init printed.
    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }
}
