//! What is taken out of an operating system that was given: what names the computer that it was on, and what is of one boot.

use std::fs;
use std::io;
use std::path::Path;

use parbake_machine::fs::files::failed;

use super::super::debian::prune::remove;
use super::super::error::Error;

/// Directories that links must not stand for: what is written or removed there would be elsewhere.
pub(super) const PLAIN: [&str; 6] = [
    "etc/systemd/journald.conf.d",
    "etc/systemd/system",
    "etc/systemd/system.conf.d",
    "usr/lib/systemd/system",
    "var",
    "dev",
];
/// Removed: a machine is told its name, its addresses and its disks.
const GONE: [&str; 4] = ["etc/fstab", "etc/hostname", "etc/machine-id", "etc/resolv.conf"];
/// Emptied, and made where they are not there: file systems are mounted on most.
const EMPTY: [&str; 4] = ["dev", "run", "tmp", "var/tmp"];
const THERE: [&str; 2] = ["proc", "sys"];

/// Fits the tree below `root`, whose directories were checked.
pub(super) fn adapt(root: &Path) -> Result<(), Error> {
    for path in GONE.map(|path| root.join(path)) {
        remove(&path)?;
    }
    for path in EMPTY.iter().chain(&THERE).map(|path| root.join(path)) {
        let there = path.symlink_metadata().map(|metadata| metadata.is_dir());
        match there {
            Ok(true) => {}
            // A link of such a name may lead anywhere, and stays.
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
