//! What a process inherits: umask, open files, limits.

use std::io;

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};

/// The files that are marked one by one on kernels without close_range(2).
const MAX_FILES: i32 = 4096;

/// Makes the process independent of its caller: sets the umask to 022. The standard library opens `/dev/null` in place of a
/// closed standard input, output or error, and ignores SIGPIPE, so that a closed pipe is an error of a write.
pub fn reset_inherited_state() {
    umask(Mode::WGRP | Mode::WOTH);
}

/// Raises the soft limit of open files to the hard one. Each relayed connection takes two.
pub(crate) fn raise_open_files_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Marks all files but standard input, output and error as to be closed by exec. Async-signal-safe.
pub(super) fn close_files_on_exec() {
    // SAFETY: close_range(2) and fcntl(2) with these arguments only set a flag of descriptors.
    #[expect(
        unsafe_code,
        reason = "rustix has no close_range, and no fcntl for numbers that may not be open"
    )]
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // Linux before 5.11 has no such flag.
        if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) != 0 {
            for fd in 3..MAX_FILES {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use rustix::fs::Mode;
    use rustix::process::{Resource, getrlimit, umask};
    use rustix::thread::UnshareFlags;

    use super::{raise_open_files_limit, reset_inherited_state};
    use crate::namespace::unshare;

    #[test]
    fn caller_s_umask_is_reset() {
        let dir = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // An umask of the thread's own.
                unshare(UnshareFlags::FS).unwrap();
                umask(Mode::RWXG | Mode::RWXO);
                reset_inherited_state();
                fs::create_dir(dir.path().join("dir")).unwrap();
                fs::write(dir.path().join("file"), "").unwrap();
            });
        });
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("dir"), mode("file")), (0o755, 0o644));
    }

    #[test]
    fn open_files_limit_becomes_the_hard_limit() {
        raise_open_files_limit().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
