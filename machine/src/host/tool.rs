//! The programs that parbake calls.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::process::Cmd;

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, where it matters and the program tells.
    pub version: Option<Version>,
}

/// What a program is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Every machine.
    Machine,
    /// The bake alone.
    Provision,
    /// A way to the outside, for clusters that are to have one.
    Internet,
    /// Only what the checks of the kernel call, or nothing on most hosts.
    Optional,
}

/// A program that parbake calls.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) need: Need,
    /// What it does here.
    pub(super) task: &'static str,
    /// Debian's package.
    pub(super) package: &'static str,
    /// The arguments that make it print its version, and the oldest one that will do.
    pub(super) oldest: Option<(&'static [&'static str], &'static [u32])>,
}

/// Every program that parbake calls on the host.
pub(super) const WANTED: &[Wanted] = &[
    Wanted {
        name: "systemd-nspawn",
        need: Need::Machine,
        task: "runs the machines",
        package: "systemd-container",
        oldest: Some((&["--version"], &[245])),
    },
    Wanted {
        name: "nsenter",
        need: Need::Machine,
        task: "enters the machines",
        package: "util-linux",
        oldest: None,
    },
    Wanted {
        name: "mmdebstrap",
        need: Need::Provision,
        task: "builds the node OS",
        package: "mmdebstrap",
        oldest: None,
    },
    Wanted {
        name: "apt-get",
        need: Need::Provision,
        task: "fetches the node OS's packages",
        package: "apt",
        oldest: None,
    },
    Wanted {
        name: "dpkg-deb",
        need: Need::Provision,
        task: "unpacks the node OS's packages",
        package: "dpkg",
        oldest: None,
    },
    Wanted {
        name: "go",
        need: Need::Provision,
        task: "builds Kubernetes from its modules",
        package: "golang-go",
        // The first that fetches the toolchain that a module asks for (go.dev/doc/toolchain).
        oldest: Some((&["version"], &[1, 21])),
    },
    Wanted {
        name: "cc",
        need: Need::Provision,
        task: "builds the pause container",
        package: "gcc libc6-dev",
        oldest: None,
    },
    Wanted {
        name: "slirp4netns",
        need: Need::Internet,
        task: "carries what leaves a cluster",
        package: "slirp4netns",
        oldest: None,
    },
    Wanted {
        name: "modprobe",
        need: Need::Optional,
        task: "loads kernel modules",
        package: "kmod",
        oldest: None,
    },
    Wanted {
        name: "iptables-restore",
        need: Need::Optional,
        task: "tries the kernel's packet filter",
        package: "iptables",
        oldest: None,
    },
    Wanted {
        name: "nft",
        need: Need::Optional,
        task: "tries the kernel's packet filter",
        package: "nftables",
        oldest: None,
    },
];

/// Looks for all of them.
pub(super) fn find_all() -> BTreeMap<String, Tool> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = WANTED.iter().filter_map(|wanted| {
        let path = find(wanted.name, &path)?;
        let version = wanted.oldest.and_then(|(args, _)| version(&path, args));
        Some((wanted.name.to_owned(), Tool { path, version }))
    });
    found.collect()
}

/// Looks for the program `name` anew, without its version: it may have been installed since it was looked for.
pub(super) fn look(name: &str) -> Option<Tool> {
    let path = find(name, &env::var_os("PATH").unwrap_or_default())?;
    Some(Tool { path, version: None })
}

/// `PATH` first, then where administrators' programs and Go's own archive are, which `su` and `sudo` leave out.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    env::split_paths(path)
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn version(program: &Path, args: &[&str]) -> Option<Version> {
    // The version that is installed, not the one that some go.mod nearby asks for.
    let output = Cmd::new(program)
        .args(args)
        .env("GOTOOLCHAIN", "local")
        .run()
        .ok()?;
    Version::find(&output.stdout)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{find, version};

    #[test]
    fn only_what_can_be_executed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("parbake-test-tool");
        fs::write(&program, "#!/bin/sh\necho tool $1 2.7.1\n").unwrap();
        assert_eq!(find("parbake-test-tool", dir.path().as_os_str()), None);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            find("parbake-test-tool", dir.path().as_os_str()),
            Some(program.clone())
        );
        assert_eq!(
            version(&program, &["v"]).map(|v| v.to_string()).as_deref(),
            Some("2.7.1")
        );
        assert_eq!(find("parbake-test-tool", OsStr::new("")), None);
    }
}
