//! Directories of a machine that are in memory while it runs.
//!
//! Each is a file system in memory (tmpfs(5)) that only the supervisor and the machine see. Before the boot it gets what
//! the machine has there; when the cluster's machines have ended, in order or not, what it holds then is put in the place
//! of that. Only when the supervisor itself is killed, or the host ends, the directory stays as it was before the boot.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use crate::dirs::Dirs;
use crate::files::{self, failed};
use crate::overlay;
use crate::plan::InMemory;
use crate::process::{self, Cmd};

/// A directory that could not be moved into memory, or back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its files could not be copied.
    #[error("could not copy what is to be in memory, or was")]
    Copy(#[source] process::Error),
    /// It could not be made, mounted, put in place or cleared.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// Makes a copy in memory of the open directory `from`, which is `dir` of the machine; gives where it is.
pub(crate) fn fill(from: &OwnedFd, dirs: &Dirs<'_>, dir: &InMemory) -> Result<PathBuf, Error> {
    clear(&dirs.returning())?;
    let memory = dirs.memory(&dir.path);
    fs::create_dir_all(&memory).map_err(failed("make", &memory))?;
    overlay::tmpfs(&memory, dir.bytes)?;
    let from = format!("/proc/{}/fd/{}/.", std::process::id(), from.as_raw_fd());
    copy_all(Path::new(&from), &memory)?;
    Ok(memory)
}

/// Puts a copy of `from` where a machine that does not run has `path`, among what it wrote, and on the disk. Whatever cuts
/// this off leaves what was there before.
///
/// # Errors
/// What could not be copied, written or removed.
pub fn put(from: &Path, to: &Dirs<'_>, path: &Path) -> Result<(), Error> {
    let (returning, place) = (to.returning(), to.upper().join(path));
    take(from, &returning)?;
    File::open(&returning)
        .and_then(|opened| Ok(syncfs(opened)?))
        .map_err(failed("write to the disk", &returning))?;
    let parent = make_parent(&place)?;
    let flags = match place.exists() {
        true => RenameFlags::EXCHANGE,
        false => RenameFlags::NOREPLACE,
    };
    renameat_with(CWD, &returning, CWD, &place, flags).map_err(failed("put in place", &place))?;
    File::open(parent)
        .and_then(|opened| opened.sync_all())
        .map_err(failed("write to the disk", parent))?;
    Ok(clear(&returning)?)
}

/// Puts a copy of `from` where a machine that was never started has `path`, among what it wrote. This waits for no disk: if
/// the host ends, such a machine is no loss.
///
/// # Errors
/// What could not be copied, written or removed.
pub fn copy(from: &Path, to: &Dirs<'_>, path: &Path) -> Result<(), Error> {
    let place = to.upper().join(path);
    make_parent(&place)?;
    take(from, &place)
}

/// Whether what a machine had in memory, when it last ended, could not be put back.
#[must_use]
pub fn was_lost(dirs: &Dirs<'_>) -> bool {
    dirs.returning().exists()
}

/// Makes `to` of an upper dir a copy of `from`, and nothing of the layers below shows through.
fn take(from: &Path, to: &Path) -> Result<(), Error> {
    clear(to)?;
    copy_all(from, to)?;
    Ok(overlay::hide_below(to)?)
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Error> {
    // etcd's log is mostly room that it has reserved.
    let mut cmd = Cmd::new("cp").args(["-a", "--sparse=always", "--no-target-directory", "--"]);
    cmd = cmd.arg(from).arg(to);
    cmd.run().map(drop).map_err(Error::Copy)
}

fn make_parent(place: &Path) -> Result<&Path, files::Error> {
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).map_err(failed("make", parent))?;
    Ok(parent)
}

fn clear(dir: &Path) -> Result<(), files::Error> {
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

    use super::{copy, put, was_lost};
    use crate::dirs::Dirs;

    const PATH: &str = "var/lib/data";

    #[test]
    fn what_was_in_memory_takes_the_place_of_what_was_there() {
        let (machine, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = Dirs(machine.path());
        let place = dirs.upper().join(PATH);
        // What a copy that was cut off has left is in nobody's way.
        fs::create_dir_all(dirs.returning().join("half")).unwrap();
        assert!(was_lost(&dirs));
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for round in ["first", "second"] {
            fs::write(memory.path().join(round), round).unwrap();
            put(memory.path(), &dirs, Path::new(PATH)).unwrap();
            assert_eq!(fs::read_to_string(place.join(round)).unwrap(), round);
            assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
            let mut mark = [0; 1];
            assert_eq!(getxattr(&place, "trusted.overlay.opaque", &mut mark), Ok(1));
            assert_eq!(&mark, b"y");
            assert!(!was_lost(&dirs));
            fs::remove_file(memory.path().join(round)).unwrap();
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_hides_what_is_below_and_replaces_what_was_there() {
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
    fn what_cannot_be_put_back_is_told_from_what_was() {
        let (machine, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = Dirs(machine.path());
        fs::create_dir_all(dirs.upper().join("var")).unwrap();
        // A file where a directory is to be.
        fs::write(dirs.upper().join("var/lib"), "").unwrap();
        assert!(put(memory.path(), &dirs, Path::new(PATH)).is_err());
        assert!(was_lost(&dirs));
    }
}
