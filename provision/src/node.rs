//! The files of every node that are not part of its OS or of Kubernetes: units, and the container runtime's configuration.

mod containerd;
mod cri_o;
mod docker;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use parbake_cluster::{ContainerRuntime, RuntimeProfile};

use containerd::Containerd;
pub use containerd::UnusableRuntime;
use cri_o::CriO;

use crate::provider::lock::Lock;
use crate::provider::{OS_SET, Recipe};

/// Units in `/etc/systemd/system` that start at boot, in addition to the runtime's.
const ENABLED: [&str; 7] = [
    "kubelet.service",
    "parbake-node.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
    "parbake-head-start.service",
    "parbake-dns.service",
    "parbake-registry.service",
];

/// The files for all runtimes, by path below a node's root. For other runtimes than containerd, the names of its unit and
/// socket are replaced, and files with [`CONTAINERD_PATH`] in their path are left out.
const FILES: [(&str, &str); 11] = [
    (
        "etc/containerd/certs.d/registry:5000/hosts.toml",
        include_str!("node/files/registry-hosts.toml"),
    ),
    ("etc/crictl.yaml", include_str!("node/files/crictl.yaml")),
    (
        "etc/systemd/system/containerd.service.d/parbake.conf",
        include_str!("node/files/containerd.conf"),
    ),
    (
        "etc/systemd/system/kubelet.service",
        include_str!("node/files/kubelet.service"),
    ),
    (
        "etc/systemd/system/parbake-node.service",
        include_str!("node/files/parbake-node.service"),
    ),
    (
        "etc/systemd/system/parbake-iptables.service",
        include_str!("node/files/parbake-iptables.service"),
    ),
    (
        "etc/systemd/system/parbake-ip6tables.service",
        include_str!("node/files/parbake-ip6tables.service"),
    ),
    (
        "etc/systemd/system/parbake-head-start.service",
        include_str!("node/files/parbake-head-start.service"),
    ),
    (
        "etc/systemd/system/parbake-dns.service",
        include_str!("node/files/parbake-dns.service"),
    ),
    (
        "etc/systemd/system/parbake-registry.service",
        include_str!("node/files/parbake-registry.service"),
    ),
    (
        "usr/lib/parbake/head-start",
        include_str!("node/files/parbake-head-start.sh"),
    ),
];

/// The wrapper of runc for other runtimes than containerd. The only executable among the files.
const RUNC: (&str, &str) = ("usr/lib/parbake/runc", include_str!("node/files/runc.sh"));
const CONTAINERD_PATH: &str = "/containerd";

/// The container runtime of a provider's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeRuntime {
    Containerd(Containerd),
    CriO(CriO),
    Docker,
}

impl NodeRuntime {
    /// The runtime of `recipe`, with the packages of `lock`.
    ///
    /// # Errors
    /// The runtime is missing or incomplete, or incompatible with the recipe's Kubernetes.
    pub(crate) fn of(recipe: &Recipe, lock: &Lock) -> Result<Self, UnusableRuntime> {
        Ok(match recipe.runtime {
            ContainerRuntime::Containerd => Self::Containerd(Containerd::of(recipe, lock)?),
            ContainerRuntime::CriO => Self::CriO(CriO::of(recipe, lock)?),
            ContainerRuntime::Docker => docker::check(recipe, lock).map(|()| Self::Docker)?,
        })
    }

    pub(crate) fn profile(&self) -> &'static RuntimeProfile {
        self.runtime().profile()
    }

    fn runtime(&self) -> ContainerRuntime {
        match self {
            Self::Containerd(_) => ContainerRuntime::Containerd,
            Self::CriO(_) => ContainerRuntime::CriO,
            Self::Docker => ContainerRuntime::Docker,
        }
    }

    /// True if its unit is part of a package.
    fn is_packaged(&self) -> bool {
        matches!(self, Self::Containerd(containerd) if containerd.is_packaged())
    }

    /// All files of a node, by path below its root. `pause` is the reference of the pause image.
    fn files(&self, pause: &str) -> Vec<(&'static str, String)> {
        let mut files = match self {
            Self::Containerd(containerd) => containerd.files(pause),
            Self::CriO(_) => with_pause(&cri_o::FILES, pause),
            Self::Docker => with_pause(&docker::FILES, pause),
        };
        let (containerd, own) = (ContainerRuntime::Containerd.profile(), self.profile());
        let is_containerd = self.runtime() == ContainerRuntime::Containerd;
        let common = FILES
            .into_iter()
            .filter(|(path, _)| is_containerd || !path.contains(CONTAINERD_PATH));
        files.extend(common.map(|(path, text)| {
            let text = text.replace(containerd.unit, own.unit);
            (path, text.replace(containerd.socket, own.socket))
        }));
        files
    }

    #[cfg(test)]
    pub(crate) fn packaged(version: &str) -> Self {
        Self::Containerd(Containerd::packaged(version))
    }
}

/// Checks that `recipe`, with the packages of `lock`, has these binaries and packages for its runtime.
fn require(
    recipe: &Recipe,
    lock: &Lock,
    binaries: &[&'static str],
    packages: &[&'static str],
) -> Result<(), UnusableRuntime> {
    let built = |part: &str| recipe.os.binaries.iter().any(|binary| binary == part);
    // A node OS of the user's must have the packages, too, which another check ensures.
    let installed = lock.set(OS_SET);
    let packaged = |part: &str| installed.iter().any(|package| package.name == part);
    let missing = binaries.iter().find(|part| !built(part));
    match missing.or_else(|| packages.iter().find(|part| !packaged(part))) {
        Some(&part) => Err(UnusableRuntime::Lacks {
            runtime: recipe.runtime,
            part,
        }),
        None => Ok(()),
    }
}

/// Fills in the reference of the pause image.
fn with_pause(files: &[(&'static str, &str)], pause: &str) -> Vec<(&'static str, String)> {
    let files = files.iter();
    files
        .map(|(path, text)| (*path, text.replace("@PAUSE@", pause)))
        .collect()
}

/// Writes the node files below `root`. `pause` is the reference of the pause image.
///
/// # Errors
/// The first file that could not be written.
pub(crate) fn write(root: &Path, runtime: &NodeRuntime, pause: &str) -> io::Result<()> {
    for (name, text) in runtime.files(pause) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, text)?;
        let mode = if name == RUNC.0 { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    let own = runtime.profile().unit;
    for unit in std::iter::once(own).chain(ENABLED) {
        let dir = if unit == own && runtime.is_packaged() {
            "/lib/systemd/system"
        } else {
            "/etc/systemd/system"
        };
        symlink(format!("{dir}/{unit}"), wants.join(unit))?;
    }
    Ok(())
}

/// The text of all files, for the key of a bake's step.
pub(crate) fn fingerprint(runtime: &NodeRuntime) -> String {
    let files = runtime.files("").into_iter();
    files.map(|(path, text)| format!("{path}\n{text}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::os::unix::fs::PermissionsExt;

    use super::containerd::Containerd;
    use super::cri_o::CriO;
    use super::{NodeRuntime, fingerprint, write};

    #[test]
    fn units_are_enabled_and_the_pause_image_is_set() {
        let [packaged, built] = [Containerd::packaged("1.6.20"), Containerd::built("2.4.2")];
        let (packaged, built) = (NodeRuntime::Containerd(packaged), NodeRuntime::Containerd(built));
        for (containerd, pause, unit) in [
            (
                &packaged,
                "sandbox_image = \"example/pause:3\"",
                "/lib/systemd/system",
            ),
            (&built, "sandbox = \"example/pause:3\"", "/etc/systemd/system"),
        ] {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), containerd, "example/pause:3").unwrap();
            let config = fs::read_to_string(root.path().join("etc/containerd/config.toml")).unwrap();
            assert!(config.contains(pause), "{config}");
            let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
            for (name, dir) in [
                ("kubelet.service", "/etc/systemd/system"),
                ("containerd.service", unit),
            ] {
                let target = fs::read_link(wants.join(name)).unwrap();
                assert_eq!(target.to_str(), Some(format!("{dir}/{name}").as_str()));
            }
            let own = root.path().join("etc/systemd/system/containerd.service");
            assert_eq!(own.is_file(), unit.starts_with("/etc"));
        }
        assert_ne!(fingerprint(&packaged), fingerprint(&built));
    }

    #[test]
    fn nodes_with_cri_o_have_no_traces_of_containerd() {
        let runtime = NodeRuntime::CriO(CriO::built("1.34.0"));
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &runtime, "example/pause:3").unwrap();
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        assert!(read("etc/crio/crio.conf").contains("pause_image = \"example/pause:3\""));
        assert!(read("etc/crictl.yaml").contains("unix:///run/crio/crio.sock"));
        let units = root.path().join("etc/systemd/system");
        for entry in fs::read_dir(&units).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(!text.contains("containerd.service"), "{}", path.display());
        }
        assert!(read("etc/systemd/system/kubelet.service").contains("After=crio.service"));
        let wanted = fs::read_link(units.join("multi-user.target.wants/crio.service")).unwrap();
        assert_eq!(wanted.to_str(), Some("/etc/systemd/system/crio.service"));
        assert!(!root.path().join("etc/containerd").exists());
        let runc = fs::metadata(root.path().join("usr/lib/parbake/runc")).unwrap();
        assert_eq!(runc.permissions().mode() & 0o777, 0o755);
    }
}
