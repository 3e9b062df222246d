//! What every node has beside its operating system and Kubernetes' binaries: units, the runtime's configuration.

mod containerd;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

pub(crate) use containerd::Containerd;
pub use containerd::UnusableRuntime;

/// Units that start at boot. The unit files stand in `/etc/systemd/system`.
const ENABLED: [&str; 8] = [
    containerd::UNIT,
    "kubelet.service",
    "parbake-node.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
    "parbake-head-start.service",
    "parbake-dns.service",
    "parbake-registry.service",
];

/// The files that are the same with any runtime, by path below a node's root.
const FILES: [(&str, &str); 11] = [
    (
        "etc/containerd/certs.d/registry:5000/hosts.toml",
        include_str!("files/registry-hosts.toml"),
    ),
    ("etc/crictl.yaml", include_str!("files/crictl.yaml")),
    (
        "etc/systemd/system/containerd.service.d/parbake.conf",
        include_str!("files/containerd.conf"),
    ),
    (
        "etc/systemd/system/kubelet.service",
        include_str!("files/kubelet.service"),
    ),
    (
        "etc/systemd/system/parbake-node.service",
        include_str!("files/parbake-node.service"),
    ),
    (
        "etc/systemd/system/parbake-iptables.service",
        include_str!("files/parbake-iptables.service"),
    ),
    (
        "etc/systemd/system/parbake-ip6tables.service",
        include_str!("files/parbake-ip6tables.service"),
    ),
    (
        "etc/systemd/system/parbake-head-start.service",
        include_str!("files/parbake-head-start.service"),
    ),
    (
        "etc/systemd/system/parbake-dns.service",
        include_str!("files/parbake-dns.service"),
    ),
    (
        "etc/systemd/system/parbake-registry.service",
        include_str!("files/parbake-registry.service"),
    ),
    (
        "usr/lib/parbake/head-start",
        include_str!("files/parbake-head-start.sh"),
    ),
];

/// Writes the files below `root`, for nodes with `containerd` and `pause` as the image that holds a pod's namespaces.
///
/// # Errors
/// The first file that could not be written.
pub(crate) fn write(root: &Path, containerd: &Containerd, pause: &str) -> io::Result<()> {
    let own = containerd.files(pause).into_iter();
    let same = FILES.map(|(path, text)| (path, text.to_owned()));
    for (path, text) in own.chain(same) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for unit in ENABLED {
        let dir = if unit == containerd::UNIT && containerd.is_packaged() {
            "/lib/systemd/system"
        } else {
            "/etc/systemd/system"
        };
        symlink(format!("{dir}/{unit}"), wants.join(unit))?;
    }
    Ok(())
}

/// A text that changes whenever the files do, for the key of a bake.
pub(crate) fn fingerprint(containerd: &Containerd) -> String {
    let own = containerd.files("").into_iter();
    own.chain(FILES.map(|(path, text)| (path, text.to_owned())))
        .map(|(path, text)| format!("{path}\n{text}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::containerd::Containerd;
    use super::{fingerprint, write};

    #[test]
    fn units_are_enabled_and_the_pause_image_is_named() {
        let (packaged, built) = (Containerd::packaged("1.6.20"), Containerd::built("2.4.2"));
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
}
