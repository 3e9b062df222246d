//! Replacing files atomically, and errors that name a file.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{PROC_SUPER_MAGIC, XattrFlags, fremovexattr, fsetxattr, getxattr, statfs};
use rustix::io::Errno;

use crate::Error;

/// The extended attribute with a file's access control list (acl(5)).
const ACL: &str = "system.posix_acl_access";

/// Makes an [`Error::File`] of the reason why `act` failed at `path`.
pub fn failed<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.to_owned();
    move |source| Error::File {
        act,
        path,
        source: source.into(),
    }
}

/// Writes `content` to the file at `path`, so that readers see the old content or the new one, even after a crash. A new
/// file gets the permission bits `mode`. An existing one keeps its owner and access control list, and those of its
/// permission bits that are in `mode`, so that a secret is never readable by more users than intended.
///
/// Only regular files are replaced: of a symbolic link the target is, and devices, pipes and sockets are written to. A
/// file that cannot be replaced, since it is a mount point or in a read-only directory, is overwritten in place.
///
/// # Errors
/// A directory is at `path`, or the file could not be written.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let Some(path) = follow_links(path)? else {
        return File::options().append(true).open(path)?.write_all(content);
    };
    let old = match fs::symlink_metadata(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match &old {
        Some(old) if old.is_dir() => {
            let problem = format!("`{}` is a directory", path.display());
            return Err(io::Error::new(io::ErrorKind::IsADirectory, problem));
        }
        Some(old) if !old.is_file() => {
            return File::options().write(true).open(&path)?.write_all(content);
        }
        _ => {}
    }
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let created = tempfile::Builder::new()
        .prefix(".")
        .suffix(".partial")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir);
    let mut partial = match (created, &old) {
        (Err(error), Some(old)) if is_read_only(&error) => {
            return overwrite(&path, old, content, mode).map_err(|_| error);
        }
        (created, _) => created?,
    };
    // Before the content, which may be secret.
    match &old {
        Some(old) => keep_access(partial.as_file(), &path, old, mode)?,
        None => set_mode(partial.as_file(), mode)?,
    }
    partial.write_all(content)?;
    partial.as_file().sync_all()?;
    match (partial.persist(&path), &old) {
        (Err(error), Some(old)) if is_mount_point(&error.error) => overwrite(&path, old, content, mode),
        (outcome, _) => outcome.map(drop).map_err(|error| error.error),
    }
}

/// The path at the end of the symbolic links at `path`; the target need not exist. `None` if a link stands for an open file
/// of a process, such as `/dev/stdout`.
fn follow_links(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = path.to_owned();
    // As many as the kernel follows (path_resolution(7)).
    for _ in 0..40 {
        // Not a link, or missing.
        let Ok(target) = fs::read_link(&path) else {
            return Ok(Some(path));
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        let is_process = statfs(dir).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC);
        if is_process && dir.ends_with("fd") {
            return Ok(None);
        }
        path = dir.join(target);
    }
    Err(Errno::LOOP.into())
}

/// Gives the new `file` the owner and access control list of the `old` file at `path`, and its permission bits in `mode`.
fn keep_access(file: &File, path: &Path, old: &Metadata, mode: u32) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    let mut acl = vec![0; 1 << 16];
    match getxattr(path, ACL, acl.as_mut_slice()) {
        Ok(length) => fsetxattr(file, ACL, &acl[..length], XattrFlags::empty())?,
        Err(Errno::OPNOTSUPP) => {}
        // The directory may have given it one.
        Err(Errno::NODATA) => match fremovexattr(file, ACL) {
            Err(Errno::NODATA) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    }
    // The bits of the group limit what the list allows.
    set_mode(file, old.mode() & mode)
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))
}

/// EBUSY is rename(2)'s answer for a mount point, EXDEV for a file on a mount of its own.
fn is_mount_point(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
    )
}

/// No file can be created in the directory, but one in it may be writable.
fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

fn overwrite(path: &Path, old: &Metadata, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    // Before the content, which may be secret.
    if old.mode() & !mode & 0o7777 != 0 {
        set_mode(&file, old.mode() & mode)?;
    }
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::path::Path;
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
    use rustix::thread::UnshareFlags;

    use super::replace;
    use crate::namespace::unshare;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn content_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, b"a long first text", 0o644).unwrap();
        replace(&path, b"short", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn owner_is_kept_and_mode_is_never_widened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "").unwrap();
        chown(&path, Some(7), Some(8)).unwrap();
        for (old, asked, expected) in [
            (0o600, 0o644, 0o600),
            (0o640, 0o644, 0o640),
            (0o644, 0o600, 0o600),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
            replace(&path, b"secret", asked).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(
                (metadata.uid(), metadata.gid(), mode(&path)),
                (7, 8, expected),
                "{old:o} {asked:o}"
            );
        }
    }

    #[test]
    fn umask_does_not_change_the_mode_of_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        thread::scope(|scope| {
            scope.spawn(|| {
                // An umask of the thread's own.
                unshare(UnshareFlags::FS).unwrap();
                rustix::process::umask(Mode::RWXG | Mode::RWXO);
                replace(&path, b"", 0o644).unwrap();
            });
        });
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn symbolic_link_stays_and_its_target_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let [link, second, target] = ["link", "second", "sub/target"].map(|name| dir.path().join(name));
        fs::create_dir(dir.path().join("sub")).unwrap();
        symlink("second", &link).unwrap();
        symlink(&target, &second).unwrap();
        for content in ["new", "replaced"] {
            replace(&link, content.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
        }
        assert!(link.is_symlink() && second.is_symlink());
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(replace(&dir.path().join("loop"), b"", 0o600).is_err());
    }

    #[test]
    fn pipes_and_open_files_are_written_to_and_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let received = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut text = String::new();
                fs::File::open(&pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            replace(&pipe, b"through", 0o600).unwrap();
            reader.join().unwrap()
        });
        assert_eq!(received, "through");
        replace(Path::new("/dev/null"), b"discarded", 0o600).unwrap();
        let file = dir.path().join("open");
        let mut open = fs::File::create(&file).unwrap();
        open.write_all(b"before ").unwrap();
        let link = dir.path().join("link");
        symlink(format!("/proc/self/fd/{}", open.as_raw_fd()), &link).unwrap();
        replace(&link, b"after", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "before after");
        assert!(link.is_symlink());
        let error = replace(dir.path(), b"", 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        assert_eq!(
            error.to_string(),
            format!("`{}` is a directory", dir.path().display())
        );
    }

    #[test]
    fn mount_point_is_overwritten_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let [mounted, source] = ["mounted", "source"].map(|name| dir.path().join(name));
        fs::write(&mounted, "hidden").unwrap();
        fs::write(&source, "a long first text").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                mount_bind(&source, &mounted).unwrap();
                replace(&mounted, b"short", 0o600).unwrap();
            });
        });
        assert_eq!(fs::read_to_string(&source).unwrap(), "short");
        assert_eq!(mode(&source), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn writable_file_in_a_read_only_directory_is_overwritten_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let read_only = dir.path().join("read-only");
        fs::create_dir(&read_only).unwrap();
        fs::write(&source, "a long first text").unwrap();
        fs::write(read_only.join("mounted"), "hidden").unwrap();
        fs::write(read_only.join("fixed"), "old").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                mount_bind(&read_only, &read_only).unwrap();
                mount_remount(&read_only, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
                mount_bind(&source, read_only.join("mounted")).unwrap();
                replace(&read_only.join("mounted"), b"short", 0o600).unwrap();
                for name in ["fixed", "new"] {
                    let error = replace(&read_only.join(name), b"new", 0o600).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{name}");
                }
            });
        });
        assert_eq!(fs::read_to_string(&source).unwrap(), "short");
        assert_eq!(fs::read_to_string(read_only.join("fixed")).unwrap(), "old");
    }
}
