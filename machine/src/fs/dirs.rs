//! The directory that a machine owns.
//!
//! ```text
//! DIR/
//! ├── upper/         the overlay's upper dir: what the machine wrote, and what a freeze packs
//! ├── work/          the overlay's work dir
//! ├── plain/         directories that cannot be on an overlay, by path: plain/var/lib/containerd
//! ├── memory/        directories that are in memory, by path; visible only to the supervisor
//! ├── returning/     one of them while it is written back to `upper`
//! ├── root/          where the root is mounted; visible only to the supervisor
//! └── console.log    the output of the machine's init
//! ```

use std::path::{Path, PathBuf};

/// Paths below a machine's own directory.
#[derive(Debug, Clone, Copy)]
pub struct Dirs<'a>(pub &'a Path);

impl Dirs<'_> {
    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// The plain directory that is mounted at `path` of the machine's root.
    pub fn plain(&self, path: &Path) -> PathBuf {
        self.0.join("plain").join(path)
    }

    /// The directory in memory that is mounted at `path` of the machine's root.
    pub fn memory(&self, path: &Path) -> PathBuf {
        self.0.join("memory").join(path)
    }

    /// A directory that was in memory, while it is written back to [`Self::upper`].
    pub fn write_back(&self) -> PathBuf {
        self.0.join("returning")
    }

    pub fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }
}
