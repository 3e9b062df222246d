//! What a process inherits: umask, signals, environment, open files.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{mem, ptr};

use rustix::fs::Mode;
use rustix::process::umask;

use super::limits;

/// The files that are marked one by one on kernels without close_range(2).
const MAX_FILES: i32 = 4096;

/// Directories of programs that `su`, `sudo` and cron leave out of `PATH`, among them that of Go's archive.
const PROGRAMS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/go/bin",
];
/// The environment variables of proxies. Some programs read only the lower-case ones (apt), others do not know
/// `ALL_PROXY` (Go).
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// What no program may reach through a proxy, in the forms that they know.
const LOOPBACK: &str = "localhost,127.0.0.1,127.0.0.0/8,::1";

/// Makes the process independent of its caller: sets the umask to 022, unblocks all signals, lets it wait for its children,
/// raises the limit of its stack, adds directories of programs to `PATH`, and sets the proxy variables in upper and lower case.
///
/// The standard library opens `/dev/null` in place of a closed standard input, output or error, and ignores SIGPIPE, so
/// that a closed pipe is an error of a write. To be called before other threads start.
pub fn reset_inherited_state() {
    umask(Mode::WGRP | Mode::WOTH);
    limits::raise_stack();
    reset_signals();
    let path = with_programs(&env::var_os("PATH").unwrap_or_default());
    let proxies = proxies(|name| env::var_os(name));
    // SAFETY: no other thread reads the environment yet.
    #[expect(unsafe_code, reason = "children and libraries read the environment")]
    unsafe {
        env::set_var("PATH", path);
        for (name, value) in proxies {
            env::set_var(name, value);
        }
    }
}

/// Unblocks all signals. With an ignored SIGCHLD, the exit codes of children would be lost.
fn reset_signals() {
    // SAFETY: the set is initialised before its use, and no handler is installed.
    #[expect(unsafe_code, reason = "rustix has neither of these calls")]
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// True if this process ignores the signal with this number, which it inherits from its caller.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: without a new action, sigaction(2) only returns the current one.
    #[expect(unsafe_code, reason = "rustix has no sigaction")]
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// `path` and the directories of programs that it lacks. An empty entry, which is the working directory, is left out.
fn with_programs(path: &OsStr) -> OsString {
    let given: Vec<PathBuf> = env::split_paths(path)
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect();
    let lacking = PROGRAMS.iter().map(Path::new);
    let lacking = lacking.filter(|dir| !given.iter().any(|given| given == dir));
    let all = given.iter().map(PathBuf::as_path).chain(lacking);
    env::join_paths(all).unwrap_or_else(|_| path.to_owned())
}

/// The proxy variables to set, in both cases; like curl, it prefers the value of the lower-case one. Schemes that have no
/// proxy of their own get that of `ALL_PROXY`, and no proxy is used for loopback addresses.
fn proxies(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(String, OsString)> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let either = |name: &str| set(&name.to_lowercase()).or_else(|| set(name));
    let all = either("ALL_PROXY");
    let mut values: Vec<(&str, OsString)> = PROXIES
        .iter()
        .filter_map(|name| Some((*name, either(name).or_else(|| all.clone())?)))
        .collect();
    if !values.is_empty() {
        let direct = match either("NO_PROXY") {
            Some(everything) if everything == "*" => everything,
            Some(mut hosts) => {
                hosts.push(",");
                hosts.push(LOOPBACK);
                hosts
            }
            None => LOOPBACK.into(),
        };
        values.push(("NO_PROXY", direct));
    }
    let both = |(name, value): (&str, OsString)| {
        [name.to_owned(), name.to_lowercase()].map(|name| (name, value.clone()))
    };
    values.into_iter().flat_map(both).collect()
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
    use std::ffi::{OsStr, OsString};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use rustix::fs::Mode;
    use rustix::process::umask;
    use rustix::thread::UnshareFlags;

    use super::{PROGRAMS, is_ignored, proxies, reset_inherited_state, with_programs};
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
    fn search_path_has_the_administrators_programs() {
        let all = PROGRAMS.join(":");
        assert_eq!(with_programs(OsStr::new("")), OsString::from(&all));
        let path = with_programs(OsStr::new("/opt/bin::/usr/bin"));
        let path = path.to_str().unwrap();
        assert!(path.starts_with("/opt/bin:/usr/bin:/usr/local/sbin:"), "{path}");
        assert_eq!(path.matches("/usr/bin").count(), 1, "{path}");
    }

    #[test]
    fn proxies_are_set_in_both_cases() {
        let set = |given: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = given.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let set = proxies(variable).into_iter();
            let text = set.map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
            text.filter(|text| !text.starts_with(char::is_lowercase))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let direct = "NO_PROXY=localhost,127.0.0.1,127.0.0.0/8,::1";
        assert_eq!(set(&[("NO_PROXY", "x"), ("https_proxy", "")]), "");
        assert_eq!(set(&[("https_proxy", "a")]), format!("HTTPS_PROXY=a {direct}"));
        assert_eq!(
            set(&[("HTTPS_PROXY", "a"), ("https_proxy", "b")]),
            format!("HTTPS_PROXY=b {direct}")
        );
        assert_eq!(
            set(&[("ALL_PROXY", "a"), ("https_proxy", "b"), ("no_proxy", "*")]),
            "HTTP_PROXY=a HTTPS_PROXY=b ALL_PROXY=a NO_PROXY=*"
        );
        let hosts = set(&[("HTTP_PROXY", "a"), ("NO_PROXY", "example.org")]);
        assert!(hosts.contains("NO_PROXY=example.org,localhost,"), "{hosts}");
        let both = proxies(|name| (name == "HTTP_PROXY").then(|| "a".into()));
        assert!(both.contains(&("http_proxy".to_owned(), "a".into())));
    }

    #[test]
    fn ignored_signals_are_those_of_the_caller() {
        // The standard library ignores SIGPIPE.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGTERM));
    }
}
