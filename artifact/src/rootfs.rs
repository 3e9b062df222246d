//! Root file systems from outside: a directory, a tar archive, or a container image with its layers applied.
//!
//! They may be hostile or damaged. The kernel keeps everything below the destination: names are looked up with `openat2` and
//! `RESOLVE_IN_ROOT` (openat2(2)), so links are resolved inside. Names with `..` and devices are rejected, except below `dev`,
//! which every machine fills itself. Owners, modes and extended attributes are kept; times are not, since layers clamp them. The
//! destination must not be used unless [`RootFs::unpack`] returns `Ok`.

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
    /// Relative to the root and without `..`; empty for the root itself.
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
    /// Another name of an earlier file.
    HardLink(PathBuf),
    Fifo,
}

/// True below `dev`, which is not unpacked: a machine has its own.
fn is_device_path(path: &Path) -> bool {
    path.starts_with("dev")
}
