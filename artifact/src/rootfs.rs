//! A root file system that somebody brings: a directory, a tar archive, or a container image with its layers applied.
//!
//! It may be hostile or broken. The kernel keeps everything below the directory that is filled: every name is looked up
//! with `openat2` and `RESOLVE_IN_ROOT` (openat2(2)), so links lead where they would lead inside. A name with `..` is
//! refused, a device too, unless it is below `dev`, which every machine fills itself. Owners, modes and extended
//! attributes are kept; times are not, since layers clamp them. What was made is worthless unless [`RootFs::unpack`]
//! returns `Ok`.

mod directory;
mod error;
mod rooted;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::RootFsError;
pub use rooted::RootedDir;
pub use source::RootFs;

/// An object of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Below the root, of nothing but names; empty for the root itself.
    path: PathBuf,
    kind: Kind,
    /// Permission, set-id and sticky bits.
    mode: u32,
    uid: u32,
    gid: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Symlink(PathBuf),
    /// Another name of a file that is there already.
    HardLink(PathBuf),
    Fifo,
}

/// Whether a device is one that need not be there: a machine has its own.
fn is_machines_own(path: &Path) -> bool {
    path.starts_with("dev")
}
