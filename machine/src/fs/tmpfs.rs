//! Directories of a machine that are in memory while it runs.
//!
//! Each is a tmpfs(5) that only the supervisor and the machine see. Before the boot it is filled from the machine's root.
//! When the cluster's machines have ended, in any way, its content replaces that on disk. Only if the supervisor is killed
//! or the host goes down, the directory on disk stays as it was before the boot.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use crate::Error;
use crate::fs::Dirs;
use crate::fs::files::failed;
use crate::fs::{mount, overlay};
use crate::plan::InMemory;
use crate::process::Cmd;

/// Copies the open directory `from`, which is `dir` of the machine, into memory. Returns the path of the copy.
pub(crate) fn fill(from: &OwnedFd, dirs: &Dirs<'_>, dir: &InMemory) -> Result<PathBuf, Error> {
    remove_all(&dirs.write_back())?;
    let memory = dirs.memory(&dir.path);
    fs::create_dir_all(&memory).map_err(failed("create", &memory))?;
    mount::tmpfs(&memory, dir.bytes)?;
    let from = format!("/proc/{}/fd/{}/.", std::process::id(), from.as_raw_fd());
    copy_all(Path::new(&from), &memory)?;
    Ok(memory)
}

/// Replaces the directory `path` of a stopped machine with a copy of `from`, and waits for the disk. If this is
/// interrupted, the old directory stays.
///
/// # Errors
/// Files could not be copied, written or removed.
pub fn write_back(from: &Path, to: &Dirs<'_>, path: &Path) -> Result<(), Error> {
    let (partial, target) = (to.write_back(), to.upper().join(path));
    copy_opaque(from, &partial)?;
    File::open(&partial)
        .and_then(|opened| Ok(syncfs(opened)?))
        .map_err(failed("sync", &partial))?;
    let parent = create_parent(&target)?;
    let flags = match target.exists() {
        true => RenameFlags::EXCHANGE,
        false => RenameFlags::NOREPLACE,
    };
    renameat_with(CWD, &partial, CWD, &target, flags).map_err(failed("replace", &target))?;
    File::open(parent)
        .and_then(|opened| opened.sync_all())
        .map_err(failed("sync", parent))?;
    remove_all(&partial)
}

/// Makes the directory `path` of a machine that was never started a copy of `from`. Does not wait for the disk: such a
/// machine can be made again.
///
/// # Errors
/// Files could not be copied or removed.
pub fn copy(from: &Path, to: &Dirs<'_>, path: &Path) -> Result<(), Error> {
    let target = to.upper().join(path);
    create_parent(&target)?;
    copy_opaque(from, &target)
}

/// True if a directory that a machine had in memory could not be written back when it last ended.
#[must_use]
pub fn write_back_failed(dirs: &Dirs<'_>) -> bool {
    dirs.write_back().exists()
}

/// Makes `to` of an upper dir a copy of `from` that hides the layers below.
fn copy_opaque(from: &Path, to: &Path) -> Result<(), Error> {
    remove_all(to)?;
    copy_all(from, to)?;
    overlay::mark_opaque(to)
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Error> {
    // etcd preallocates its log.
    let cmd = Cmd::new("cp").args(["-a", "--sparse=always", "--no-target-directory", "--"]);
    cmd.arg(from).arg(to).run().map(drop)
}

fn create_parent(path: &Path) -> Result<&Path, Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    Ok(parent)
}

fn remove_all(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::fs::getxattr;

    use super::{copy, write_back, write_back_failed};
    use crate::fs::Dirs;

    const PATH: &str = "var/lib/data";

    #[test]
    fn memory_replaces_the_directory_on_disk() {
        let (machine, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = Dirs(machine.path());
        let place = dirs.upper().join(PATH);
        // An interrupted copy is removed.
        fs::create_dir_all(dirs.write_back().join("half")).unwrap();
        assert!(write_back_failed(&dirs));
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for round in ["first", "second"] {
            fs::write(memory.path().join(round), round).unwrap();
            write_back(memory.path(), &dirs, Path::new(PATH)).unwrap();
            assert_eq!(fs::read_to_string(place.join(round)).unwrap(), round);
            assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
            let mut mark = [0; 1];
            assert_eq!(getxattr(&place, "trusted.overlay.opaque", &mut mark), Ok(1));
            assert_eq!(&mark, b"y");
            assert!(!write_back_failed(&dirs));
            fs::remove_file(memory.path().join(round)).unwrap();
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn copy_replaces_the_directory_and_hides_the_layers() {
        let (machine, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = Dirs(machine.path());
        let place = dirs.upper().join(PATH);
        fs::write(memory.path().join("new"), "new").unwrap();
        for _ in ["nothing there", "a copy there"] {
            copy(memory.path(), &dirs, Path::new(PATH)).unwrap();
            assert_eq!(fs::read_to_string(place.join("new")).unwrap(), "new");
            assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
            assert_eq!(getxattr(&place, "trusted.overlay.opaque", &mut [0; 1]), Ok(1));
            fs::rename(place.join("new"), place.join("old")).unwrap();
        }
    }

    #[test]
    fn failed_write_back_is_detected() {
        let (machine, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = Dirs(machine.path());
        fs::create_dir_all(dirs.upper().join("var")).unwrap();
        // A file in place of a directory.
        fs::write(dirs.upper().join("var/lib"), "").unwrap();
        assert!(write_back(memory.path(), &dirs, Path::new(PATH)).is_err());
        assert!(write_back_failed(&dirs));
    }
}
