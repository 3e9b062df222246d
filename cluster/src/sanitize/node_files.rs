//! The files of stopped machines, without credentials and without what every boot creates again.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use crate::error::Error;
use crate::model::description::Node;

/// Files that a freeze removes, below a machine's upper directory: credentials, kubeadm's inputs, volumes of pods that
/// are recreated, logs, and what every boot creates again.
const REMOVED: [&str; 18] = [
    "etc/.updated",
    "etc/kubernetes/pki",
    "etc/kubernetes/tmp",
    "etc/machine-id",
    "etc/parbake",
    "var/.updated",
    // Addresses of pods that no longer run.
    "var/lib/cni",
    "var/lib/dbus/machine-id",
    "var/lib/kubelet/actuated_pods_state",
    "var/lib/kubelet/allocated_pods_state",
    "var/lib/kubelet/checkpoints",
    "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/pki",
    "var/lib/kubelet/plugins_registry",
    "var/lib/kubelet/pods",
    // Mount points of image layers.
    "var/lib/parbake/images",
    "var/lib/systemd",
    "var/log",
];
/// Files that only a bake removes.
const REMOVED_BY_BAKE: [&str; 3] = ["root", "tmp", "var/tmp"];
/// The port on which members of etcd reach each other.
const ETCD_PEER_PORT: u16 = 2380;
/// The directory of kubeadm's kubeconfigs, `NAME.conf`.
const KUBECONFIGS: &str = "etc/kubernetes";
/// etcd's data directory, below a control plane's root.
pub const ETCD_DIR: &str = "var/lib/etcd";

/// The origin of a machine's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A bake, in which no user has worked.
    Bake,
    /// A user, whose files in `/root` and `/var/tmp` are kept.
    User,
}

/// Removes from a stopped machine's upper directory what must not be frozen.
///
/// # Errors
/// The first file that could not be removed.
pub fn sanitize(upper: &Path, owner: Owner) -> Result<(), Error> {
    let removed_by_bake = REMOVED_BY_BAKE.iter().filter(|_| owner == Owner::Bake);
    for path in REMOVED.iter().chain(removed_by_bake) {
        remove(&upper.join(path))?;
    }
    for path in kubeconfigs(upper)? {
        remove(&path)?;
    }
    Ok(())
}

/// The kubeconfigs of a node's own components.
///
/// # Errors
/// The directory cannot be read.
pub fn kubeconfigs(upper: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = upper.join(KUBECONFIGS);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("list", &dir))?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect())
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    Ok(removed.map_err(failed("remove", path))?)
}

/// Rebuilds etcd's files on stopped control planes, because the old ones keep deleted entries in their log and in free
/// pages. All of `planes`, each with its upper directory, get the data of the first, and become members of one etcd cluster.
/// `tool` is the program [`VersionCompat::etcd_tool`](crate::model::version_compat::VersionCompat::etcd_tool).
///
/// # Errors
/// The tool failed, or a file could not be replaced.
pub fn rebuild_etcd(planes: &[(&Node, PathBuf)], tool: &Path) -> Result<(), Error> {
    let peer_url = |node: &Node| format!("https://{}", SocketAddr::new(node.address, ETCD_PEER_PORT));
    let member = |(node, _): &(&Node, PathBuf)| format!("{}={}", node.name, peer_url(node));
    let members = planes.iter().map(member).collect::<Vec<_>>().join(",");
    let Some((_, first)) = planes.first() else {
        return Ok(());
    };
    // A closed database is a valid snapshot, except that it has no checksum. The first one is rebuilt first, and is still a
    // snapshot afterwards.
    let snapshot = first.join(ETCD_DIR).join("member/snap/db");
    for (node, upper) in planes {
        let restore = Cmd::new(tool)
            .args(["snapshot", "restore", "--skip-hash-check"])
            .arg(&snapshot)
            .arg(format!("--name={}", node.name))
            .arg(format!("--initial-cluster={members}"))
            .arg(format!("--initial-advertise-peer-urls={}", peer_url(node)));
        replace_data(&upper.join(ETCD_DIR), restore, tool)?;
    }
    Ok(())
}

/// Replaces the data directory `data` with the one that `restore` creates.
fn replace_data(data: &Path, restore: Cmd, tool: &Path) -> Result<(), Error> {
    let rebuilt = data.with_file_name("etcd.renewed");
    restore.arg("--data-dir").arg(&rebuilt).run()?;
    // Restoring copies the file page by page, including free pages.
    Cmd::new(tool)
        .arg("defrag")
        .arg("--data-dir")
        .arg(&rebuilt)
        .run()?;
    fs::remove_dir_all(data.join("member")).map_err(failed("remove", data))?;
    fs::rename(rebuilt.join("member"), data.join("member")).map_err(failed("replace", data))?;
    Ok(fs::remove_dir(&rebuilt).map_err(failed("remove", &rebuilt))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Owner, sanitize};

    #[test]
    fn only_files_of_users_are_kept() {
        for (owner, is_kept) in [(Owner::Bake, false), (Owner::User, true)] {
            let upper = tempfile::tempdir().unwrap();
            let pod_address = "var/lib/cni/networks/local/192.168.8.2";
            for path in [
                "root/notes",
                "var/tmp/x",
                "srv/data",
                "etc/kubernetes/admin.conf",
                pod_address,
            ] {
                let path = upper.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            fs::create_dir_all(upper.path().join("etc/kubernetes/pki/etcd")).unwrap();
            sanitize(upper.path(), owner).unwrap();
            let exists = |path: &str| upper.path().join(path).exists();
            assert_eq!((exists("root/notes"), exists("var/tmp/x")), (is_kept, is_kept));
            assert!(exists("srv/data"));
            assert!(!exists("etc/kubernetes/admin.conf") && !exists("etc/kubernetes/pki"));
            assert!(!exists("var/lib/cni"));
        }
        // A machine that has written nothing.
        sanitize(tempfile::tempdir().unwrap().path(), Owner::User).unwrap();
    }
}
