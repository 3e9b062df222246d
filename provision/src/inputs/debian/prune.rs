//! Removes files from a tree of installed packages that no machine or container needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;

use super::super::error::Error;

/// Changes whenever this file would remove other files.
pub(in crate::inputs) const FINGERPRINT: &str = "1";

/// The purpose of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::inputs) enum For {
    Image,
    Machine,
}

/// Removed from both.
const ALWAYS: [&str; 9] = [
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/pixmaps",
    "usr/share/zsh",
];

/// Removed from images, which only need binaries and their libraries.
const FROM_IMAGES: [&str; 11] = [
    "etc/conntrackd",
    "etc/init.d",
    "etc/nftables.conf",
    "lib/systemd",
    "lib/terminfo",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/systemd",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/share/gcc",
    "usr/share/perl5",
    "usr/share/terminfo",
];

/// Removed from machines: leftovers of the installation, and files with host names or dates.
const FROM_MACHINES: [&str; 14] = [
    "etc/.pwd.lock",
    "etc/apt",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "var/lib/apt",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/diversions-old",
];

/// Emptied in machines.
const EMPTY_IN_MACHINES: [&str; 6] = ["dev", "run", "tmp", "var/cache", "var/log", "var/tmp"];

/// Removes unneeded files. Copyright notices stay.
pub(super) fn prune(root: &Path, what_for: For) -> Result<(), Error> {
    let also: &[&str] = match what_for {
        For::Image => &FROM_IMAGES,
        For::Machine => &FROM_MACHINES,
    };
    for path in ALWAYS.iter().chain(also) {
        remove(&root.join(path))?;
    }
    if what_for == For::Machine {
        for dir in EMPTY_IN_MACHINES {
            for path in children(&root.join(dir))? {
                remove(&path)?;
            }
        }
    }
    for package in children(&root.join("usr/share/doc"))? {
        for path in children(&package)?
            .into_iter()
            .filter(|path| !path.ends_with("copyright"))
        {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The entries of a directory; empty if it is absent or a link, which could lead out of the tree.
fn children(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    if dir.is_symlink() {
        return Ok(Vec::new());
    }
    match fs::read_dir(dir) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        found => Ok(found
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(failed("list", dir))?),
    }
}

/// Removes a file, a link or a whole directory, which may be absent.
pub(in crate::inputs) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    Ok(removed.map_err(failed("remove", path))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{For, prune};

    #[test]
    fn licenses_and_links_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        for (folder, file) in [
            ("usr/share/doc/a", "copyright"),
            ("usr/share/doc/a", "changelog.gz"),
            ("usr/share/man/man1", "a.1"),
            ("var/log/apt", "history.log"),
            ("etc", "resolv.conf"),
            ("etc", "passwd"),
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(file), "").unwrap();
        }
        symlink(outside.path(), root.join("usr/share/doc/b")).unwrap();
        symlink(outside.path(), root.join("var/log/outside")).unwrap();
        symlink(outside.path(), root.join("run")).unwrap();
        prune(root, For::Machine).unwrap();
        for there in ["usr/share/doc/a/copyright", "etc/passwd", "var/log"] {
            assert!(root.join(there).exists(), "{there}");
        }
        for gone in [
            "usr/share/doc/a/changelog.gz",
            "usr/share/man",
            "var/log/apt",
            "etc/resolv.conf",
        ] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        assert!(root.join("usr/share/doc/b").is_symlink());
        assert!(!root.join("var/log/outside").is_symlink());
        assert!(outside.path().join("precious").exists());
    }
}
