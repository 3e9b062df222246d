//! Checks that a custom OS has everything that a node needs.

use std::io::Read;
use std::path::Path;

use parbake_artifact::rootfs::RootedDir;
use parbake_machine::fs::files::failed;

use super::super::error::Error;
use super::adapt;
use crate::provider::{ContainerRuntime, Provider};

/// Directories that are searched for commands.
const PATH: [&str; 6] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
];

/// Commands that are found by name, each with its Debian package.
const COMMANDS: [(&str, &str); 34] = [
    ("awk", "mawk"),
    ("base64", "coreutils"),
    ("basename", "coreutils"),
    ("cat", "coreutils"),
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("cp", "coreutils"),
    ("ctr", "containerd"),
    ("grep", "grep"),
    ("ip", "iproute2"),
    ("ip6tables-save", "iptables"),
    ("iptables", "iptables"),
    ("iptables-save", "iptables"),
    ("journalctl", "systemd"),
    ("mkdir", "coreutils"),
    ("mount", "mount"),
    ("mv", "coreutils"),
    ("nsenter", "util-linux"),
    ("pgrep", "procps"),
    ("pkill", "procps"),
    ("rm", "coreutils"),
    ("runc", "runc"),
    ("sed", "sed"),
    ("sha256sum", "coreutils"),
    ("sleep", "coreutils"),
    ("socat", "socat"),
    ("sync", "coreutils"),
    ("systemctl", "systemd"),
    ("systemd-tmpfiles", "systemd"),
    ("tar", "tar"),
    ("touch", "coreutils"),
    ("tr", "coreutils"),
    ("umount", "mount"),
];

/// The package that nodes with CRI-O do not need.
const CONTAINERD: &str = "containerd";
/// Additional commands of nodes with CRI-O.
const CRI_O: [(&str, &str); 2] = [("conmon", "conmon"), ("mktemp", "coreutils")];

/// Additional commands of nodes with Docker.
const DOCKER: [(&str, &str); 4] = [
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("jq", "jq"),
    ("mktemp", "coreutils"),
];

/// Files with fixed paths; one of each list is enough.
const FILES: [(&[&str], &str); 13] = [
    (&["usr/lib/systemd/systemd", "lib/systemd/systemd"], "systemd"),
    (&["lib/systemd/system/multi-user.target"], "systemd"),
    (&["lib/systemd/system/containerd.service"], "containerd"),
    (&["lib/systemd/system/dbus.socket"], "dbus"),
    (&["usr/bin/dbus-daemon", "usr/bin/dbus-broker"], "dbus"),
    (&["usr/lib/cni/bridge"], "containernetworking-plugins"),
    (&["usr/lib/cni/host-local"], "containernetworking-plugins"),
    (&["usr/lib/cni/loopback"], "containernetworking-plugins"),
    (&["usr/lib/cni/portmap"], "containernetworking-plugins"),
    (&["usr/sbin/iptables-restore"], "iptables"),
    (&["usr/sbin/ip6tables-restore"], "iptables"),
    (&["usr/bin/env"], "coreutils"),
    (&["bin/sh"], "dash"),
];
/// Additional files if the cluster has a DNS server for nodes.
const DNS: [(&[&str], &str); 2] = [(&["usr/sbin/dnsmasq"], "dnsmasq-base"), (&["bin/kill"], "procps")];
/// os-release(5).
const RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// A required file: possible paths below the root, and its Debian package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    paths: Vec<String>,
    /// The name of a command.
    command: Option<&'static str>,
    package: &'static str,
}

/// An OS that lacks something that nodes need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{os}` cannot be used as node OS: {}; {}", problems.join("; "), advice(packages))]
pub struct MissingFromOs {
    /// The path or image.
    pub os: String,
    pub problems: Vec<String>,
    /// Debian packages with the missing files, sorted.
    pub packages: Vec<&'static str>,
}

fn advice(packages: &[&str]) -> String {
    match packages {
        [] => "rebuild it without these problems".to_owned(),
        _ => format!(
            "install the contents of the Debian packages {}",
            packages.join(", ")
        ),
    }
}

/// The requirements of nodes of `provider`, without the binaries that the provider adds.
pub(super) fn needs(provider: &Provider) -> Vec<Requirement> {
    let os = &provider.recipe.os;
    let own = |name: &str| os.binaries.iter().any(|binary| binary == name);
    let runtime = provider.recipe.runtime;
    let of_another = |package: &str| package == CONTAINERD && runtime == ContainerRuntime::CriO;
    let more: &[_] = match runtime {
        ContainerRuntime::Containerd => &[],
        ContainerRuntime::CriO => &CRI_O,
        ContainerRuntime::Docker => &DOCKER,
    };
    let commands = COMMANDS
        .iter()
        .filter(|(name, package)| !own(name) && !of_another(package));
    let commands = commands.chain(more);
    let commands = commands.map(|(name, package)| Requirement {
        paths: PATH.iter().map(|dir| format!("{dir}/{name}")).collect(),
        command: Some(name),
        package,
    });
    let dns = DNS.iter().filter(|_| provider.recipe.services.dns);
    let files = FILES.iter().filter(|(_, package)| !of_another(package));
    let files = files.chain(dns).map(|(paths, package)| Requirement {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        command: None,
        package,
    });
    let release = Requirement {
        paths: RELEASE.map(str::to_owned).into(),
        command: None,
        package: "base-files",
    };
    commands.chain(files).chain([release]).collect()
}

/// A text that changes with the requirements.
pub(super) fn fingerprint(needs: &[Requirement]) -> String {
    needs.iter().map(|need| need.paths.join(":") + "\n").collect()
}

/// Checks the tree below `root` and reports all problems; `os` names its origin.
pub(super) fn check(root: &Path, needs: &[Requirement], architecture: &str, os: &str) -> Result<(), Error> {
    let inside = RootedDir::open(root).map_err(failed("open", root))?;
    let mut missing = MissingFromOs {
        os: os.to_owned(),
        problems: Vec::new(),
        packages: Vec::new(),
    };
    let mut other_machine = Vec::new();
    for need in needs {
        let look = || find(&inside, need).map_err(failed("look into", root));
        match look()? {
            None => {
                missing.problems.push(need.missing());
                missing.packages.push(need.package);
            }
            Some((path, Some(other))) if Some(other) != machine(architecture) => other_machine.push(path),
            Some(_) => {}
        }
    }
    if !other_machine.is_empty() {
        let (first, count) = (&other_machine[0], other_machine.len());
        let problem = format!("{count} of its programs are not for {architecture}, for example `/{first}`");
        missing.problems.push(problem);
    }
    for dir in adapt::PLAIN {
        let plain = inside
            .is_plain(Path::new(dir))
            .map_err(failed("look into", root))?;
        if !plain {
            let problem = format!("`/{dir}` is not a directory, or is reached through a link");
            missing.problems.push(problem);
        }
    }
    missing.packages.sort_unstable();
    missing.packages.dedup();
    match missing.problems.is_empty() {
        true => Ok(()),
        false => Err(missing.into()),
    }
}

impl Requirement {
    fn missing(&self) -> String {
        match self.command {
            Some(name) => {
                let dirs = PATH.map(|dir| format!("/{dir}")).join(":");
                format!("`{name}` is missing (looked for in {dirs})")
            }
            None => {
                let paths: Vec<_> = self.paths.iter().map(|path| format!("`/{path}`")).collect();
                format!("{} is missing", paths.join(" or "))
            }
        }
    }
}

/// The path of a required file, and its machine if it is a program (ELF specification, `e_machine`).
fn find(inside: &RootedDir, need: &Requirement) -> std::io::Result<Option<(String, Option<u16>)>> {
    for path in &need.paths {
        if let Some(file) = inside.file(Path::new(path))? {
            let mut head = Vec::new();
            file.take(20).read_to_end(&mut head)?;
            return Ok(Some((path.clone(), e_machine(&head))));
        }
    }
    Ok(None)
}

/// `e_machine` in a file's first 20 bytes; `None` for scripts.
fn e_machine(head: &[u8]) -> Option<u16> {
    let (low, high) = (*head.get(18)?, *head.get(19)?);
    // `EI_DATA`.
    match (head.starts_with(b"\x7fELF"), head[5]) {
        (true, 1) => Some(u16::from_le_bytes([low, high])),
        (true, _) => Some(u16::from_be_bytes([low, high])),
        _ => None,
    }
}

/// `EM_X86_64` or `EM_AARCH64` for Debian's name of an architecture.
fn machine(architecture: &str) -> Option<u16> {
    match architecture {
        "amd64" => Some(62),
        "arm64" => Some(183),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Requirement, check, needs};
    use crate::inputs::Error;
    use crate::provider::{ContainerRuntime, Provider};

    fn provider() -> Provider {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        Provider::load(&dir).unwrap()
    }

    /// The head of a program for `machine`.
    fn program(machine: u8) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(18, 0);
        head.extend([machine, 0]);
        head
    }

    /// A tree with all of `needs`, each at the last of its paths, and with merged `/usr`.
    fn system(needs: &[Requirement]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (link, to) in [("bin", "/usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
            fs::create_dir_all(root.path().join("usr").join(link)).unwrap();
            symlink(to, root.path().join(link)).unwrap();
        }
        for need in needs {
            let path = need.paths.last().unwrap();
            // Absolute links point into the tree.
            let real = match path.split('/').next() {
                Some("bin" | "sbin" | "lib") => root.path().join("usr").join(path),
                _ => root.path().join(path),
            };
            fs::create_dir_all(real.parent().unwrap()).unwrap();
            fs::write(real, program(62)).unwrap();
        }
        root
    }

    fn report(root: &Path) -> String {
        match check(root, &needs(&provider()), "amd64", "my.tar") {
            Ok(()) => String::new(),
            Err(Error::Os(missing)) => missing.to_string(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn complete_os_is_accepted() {
        let root = system(&needs(&provider()));
        assert_eq!(report(root.path()), "");
    }

    #[test]
    fn all_missing_files_are_reported_at_once() {
        let root = system(&needs(&provider()));
        for path in [
            "usr/bin/socat",
            "usr/bin/runc",
            "usr/sbin/dnsmasq",
            "usr/lib/cni/bridge",
        ] {
            fs::remove_file(root.path().join(path)).unwrap();
        }
        let error = report(root.path());
        for part in [
            "`my.tar` cannot be used as node OS: ",
            "`runc` is missing (looked for in /usr/local/sbin:",
            "`socat` is missing",
            "`/usr/sbin/dnsmasq` is missing",
            "`/usr/lib/cni/bridge` is missing",
            "; install the contents of the Debian packages containernetworking-plugins, dnsmasq-base, runc, socat",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(error.matches("is missing").count(), 4, "{error}");
    }

    #[test]
    fn empty_tree_is_one_error() {
        let root = tempfile::tempdir().unwrap();
        let error = report(root.path());
        assert_eq!(
            error.matches("is missing").count(),
            needs(&provider()).len(),
            "{error}"
        );
    }

    #[test]
    fn other_architectures_and_links_out_of_the_tree_are_rejected() {
        let root = system(&needs(&provider()));
        fs::write(root.path().join("usr/bin/runc"), program(183)).unwrap();
        fs::remove_dir_all(root.path().join("var")).ok();
        symlink("/var", root.path().join("var")).unwrap();
        let error = report(root.path());
        assert!(
            error.contains("1 of its programs are not for amd64, for example `/bin/runc`")
                || error.contains("example `/usr/bin/runc`"),
            "{error}"
        );
        assert!(
            error.contains("`/var` is not a directory, or is reached through a link"),
            "{error}"
        );
        assert!(error.ends_with("rebuild it without these problems"), "{error}");
    }

    #[test]
    fn binaries_of_the_provider_are_not_required() {
        let mut provider = provider();
        let before = needs(&provider).len();
        provider.recipe.os.binaries.push("containerd".to_owned());
        provider.recipe.services.dns = false;
        assert_eq!(needs(&provider).len(), before - 3);
    }

    #[test]
    fn requirements_depend_on_the_runtime() {
        let mut provider = provider();
        provider.select_runtime(ContainerRuntime::CriO).unwrap();
        let needs = needs(&provider);
        let has = |package: &str| needs.iter().any(|need| need.package == package);
        assert!(has("conmon") && has("runc") && !has("containerd"));
    }
}
