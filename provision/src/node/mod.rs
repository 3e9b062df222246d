//! What every node has beside its operating system and Kubernetes' binaries: units, the runtime's configuration.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Units that start at boot. The unit files stand in `/etc/systemd/system`.
const ENABLED: [&str; 8] = [
    "containerd.service",
    "kubelet.service",
    "parbake-node.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
    "parbake-head-start.service",
    "parbake-dns.service",
    "parbake-registry.service",
];
/// Where the units of packages stand.
const PACKAGED: [&str; 1] = ["containerd.service"];

/// The files, by path below a node's root.
const FILES: [(&str, &str); 12] = [
    (
        "etc/containerd/config.toml",
        include_str!("files/containerd.toml"),
    ),
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

/// Writes the files below `root`, with `pause` as the image that holds a pod's namespaces.
///
/// # Errors
/// The first file that could not be written.
pub(crate) fn write(root: &Path, pause: &str) -> io::Result<()> {
    for (path, text) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, text.replace("@PAUSE@", pause))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for unit in ENABLED {
        let dir = if PACKAGED.contains(&unit) {
            "/lib/systemd/system"
        } else {
            "/etc/systemd/system"
        };
        symlink(format!("{dir}/{unit}"), wants.join(unit))?;
    }
    Ok(())
}

/// A text that changes whenever the files do, for the key of a bake.
pub(crate) fn fingerprint() -> String {
    FILES
        .iter()
        .map(|(path, text)| format!("{path}\n{text}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::write;

    #[test]
    fn units_are_enabled_and_the_pause_image_is_named() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "example/pause:3").unwrap();
        let config = fs::read_to_string(root.path().join("etc/containerd/config.toml")).unwrap();
        assert!(config.contains("sandbox_image = \"example/pause:3\""), "{config}");
        let unit = root
            .path()
            .join("etc/systemd/system/multi-user.target.wants/kubelet.service");
        assert_eq!(
            fs::read_link(unit).unwrap().to_str(),
            Some("/etc/systemd/system/kubelet.service")
        );
    }
}
