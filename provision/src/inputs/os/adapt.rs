//! Removes host names, addresses and runtime files of another computer from a custom OS.

use std::fs;
use std::io;
use std::path::Path;

use parbake_machine::fs::files::failed;

use super::super::debian::prune::remove;
use super::super::error::Error;

/// Directories that must not be links, since files are written and removed below them.
pub(super) const PLAIN: [&str; 6] = [
    "etc/systemd/journald.conf.d",
    "etc/systemd/system",
    "etc/systemd/system.conf.d",
    "usr/lib/systemd/system",
    "var",
    "dev",
];
/// Removed, since machines get their names, addresses and disks from outside.
const REMOVED: [&str; 4] = ["etc/fstab", "etc/hostname", "etc/machine-id", "etc/resolv.conf"];
/// Emptied, or created. File systems are mounted on most of them.
const EMPTY: [&str; 4] = ["dev", "run", "tmp", "var/tmp"];
/// Created if missing.
const MOUNT_POINTS: [&str; 2] = ["proc", "sys"];

/// Adapts the tree below `root`, whose directories were checked.
pub(super) fn adapt(root: &Path) -> Result<(), Error> {
    for path in REMOVED.map(|path| root.join(path)) {
        remove(&path)?;
    }
    for path in EMPTY.iter().chain(&MOUNT_POINTS).map(|path| root.join(path)) {
        let is_dir = path.symlink_metadata().map(|metadata| metadata.is_dir());
        match is_dir {
            Ok(true) => {}
            // A link may lead out of the tree, so it stays.
            Ok(false) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&path).map_err(failed("create", &path))?;
            }
            Err(error) => return Err(failed("look at", &path)(error).into()),
        }
    }
    for path in EMPTY.map(|path| root.join(path)) {
        if path.is_symlink() {
            continue;
        }
        for child in fs::read_dir(&path).map_err(failed("list", &path))? {
            remove(&child.map_err(failed("list", &path))?.path())?;
        }
    }
    Ok(())
}
