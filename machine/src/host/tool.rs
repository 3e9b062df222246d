//! The programs that parbake calls.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::process::Cmd;

/// An installed program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub path: PathBuf,
    /// Known only of programs that must have a minimum version.
    pub version: Option<Version>,
}

/// The purpose of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Running machines.
    Machine,
    /// Baking only.
    Provision,
    /// Baking from Go modules only.
    Build,
    /// Clusters with access to the internet.
    Internet,
    /// Needed by the checks only, or not on most hosts.
    Optional,
}

/// A program that parbake calls.
pub(super) struct Requirement {
    pub(super) name: &'static str,
    pub(super) need: Need,
    pub(super) task: &'static str,
    /// The Debian package.
    pub(super) package: &'static str,
    /// The arguments that print the version, and the minimum version.
    pub(super) min_version: Option<(&'static [&'static str], &'static [u32])>,
}

/// Every program that parbake calls on the host.
pub(super) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "systemd-nspawn",
        need: Need::Machine,
        task: "runs the machines",
        package: "systemd-container",
        min_version: Some((&["--version"], &[245])),
    },
    Requirement {
        name: "nsenter",
        need: Need::Machine,
        task: "enters the machines",
        package: "util-linux",
        min_version: None,
    },
    Requirement {
        name: "mmdebstrap",
        need: Need::Provision,
        task: "builds the node OS",
        package: "mmdebstrap",
        min_version: None,
    },
    Requirement {
        name: "apt-get",
        need: Need::Provision,
        task: "fetches the node OS's packages",
        package: "apt",
        min_version: None,
    },
    Requirement {
        name: "dpkg-deb",
        need: Need::Provision,
        task: "unpacks the node OS's packages",
        package: "dpkg",
        min_version: None,
    },
    Requirement {
        name: "go",
        need: Need::Build,
        task: "builds Kubernetes from its modules",
        package: "golang-go",
        // The first one that downloads the toolchain that a module needs (go.dev/doc/toolchain).
        min_version: Some((&["version"], &[1, 21])),
    },
    Requirement {
        name: "cc",
        need: Need::Build,
        task: "builds the pause container",
        package: "gcc libc6-dev",
        min_version: None,
    },
    Requirement {
        name: "slirp4netns",
        need: Need::Internet,
        task: "connects clusters with the internet",
        package: "slirp4netns",
        min_version: None,
    },
    Requirement {
        name: "modprobe",
        need: Need::Optional,
        task: "loads kernel modules",
        package: "kmod",
        min_version: None,
    },
    Requirement {
        name: "iptables-restore",
        need: Need::Optional,
        task: "checks the kernel's packet filter",
        package: "iptables",
        min_version: None,
    },
    Requirement {
        name: "nft",
        need: Need::Optional,
        task: "checks the kernel's packet filter",
        package: "nftables",
        min_version: None,
    },
];

/// Finds all programs that are installed.
pub(super) fn find_all() -> BTreeMap<String, Tool> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = REQUIREMENTS.iter().filter_map(|required| {
        let path = find(required.name, &path)?;
        let version = required.min_version.and_then(|(args, _)| version(&path, args));
        Some((required.name.to_owned(), Tool { path, version }))
    });
    found.collect()
}

/// Finds the program `name`, without its version.
pub(super) fn find_one(name: &str) -> Option<Tool> {
    let path = find(name, &env::var_os("PATH").unwrap_or_default())?;
    Some(Tool { path, version: None })
}

/// Searches `path`, as the start of a program does.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn version(program: &Path, args: &[&str]) -> Option<Version> {
    // The installed version, not the one that a go.mod in this directory selects.
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
    fn only_executable_files_are_found() {
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
