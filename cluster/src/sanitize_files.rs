//! The files of machines that do not run, made fit to be frozen: nothing that opens the cluster, nothing that every start
//! makes anew.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;
use thiserror::Error;

use crate::Node;

/// What a machine wrote that must not or need not be in an artifact, below its upper directory: credentials, what kubeadm
/// was told, volumes of pods that are started anew, logs, and what every start of a node makes by itself.
const SCRAPS: [&str; 18] = [
    "etc/.updated",
    "etc/kubernetes/pki",
    "etc/kubernetes/tmp",
    "etc/machine-id",
    "etc/parbake",
    "var/.updated",
    // Which addresses pods had that run no more.
    "var/lib/cni",
    "var/lib/dbus/machine-id",
    "var/lib/kubelet/actuated_pods_state",
    "var/lib/kubelet/allocated_pods_state",
    "var/lib/kubelet/checkpoints",
    "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/pki",
    "var/lib/kubelet/plugins_registry",
    "var/lib/kubelet/pods",
    // Where the images' layers were mounted.
    "var/lib/parbake/images",
    "var/lib/systemd",
    "var/log",
];
/// What besides means nothing where nobody but a bake has worked on the machine.
const UNUSED: [&str; 3] = ["root", "tmp", "var/tmp"];
/// The port on which members of etcd reach each other.
const ETCD_PEERS: u16 = 2380;
/// Where kubeadm puts kubeconfigs, `NAME.conf`.
const KUBECONFIGS: &str = "etc/kubernetes";
/// etcd's data directory on a control plane, below its root.
pub const ETCD: &str = "var/lib/etcd";

/// Files that could not be made fit.
#[derive(Debug, Error)]
pub enum ScrubError {
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
}

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A bake's: nobody has put anything there on purpose.
    Bake,
    /// A user's, who may keep things in `/root` and `/var/tmp`.
    User,
}

/// Removes from a stopped machine's upper directory what is not to be frozen.
///
/// # Errors
/// The first file that could not be removed.
pub fn scrub(upper: &Path, owner: Owner) -> Result<(), ScrubError> {
    let unused = UNUSED.iter().filter(|_| owner == Owner::Bake);
    for path in SCRAPS.iter().chain(unused) {
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
/// Their directory cannot be read.
pub fn kubeconfigs(upper: &Path) -> Result<Vec<PathBuf>, ScrubError> {
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

fn remove(path: &Path) -> Result<(), ScrubError> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    Ok(removed.map_err(failed("remove", path))?)
}

/// Writes etcd's files of stopped control planes anew: the old ones keep deleted entries in their log and in free
/// pages. All of `planes`, each with its upper directory, get what the first of them has, and are the members of one
/// etcd cluster. `tool` is what [`Dialect::etcd_tool`](crate::version_compat::Dialect::etcd_tool) names.
///
/// # Errors
/// The tool failed, or a file could not be replaced.
pub fn renew_database(planes: &[(&Node, PathBuf)], tool: &Path) -> Result<(), ScrubError> {
    let peer = |node: &Node| format!("https://{}", SocketAddr::new(node.address, ETCD_PEERS));
    let member = |(node, _): &(&Node, PathBuf)| format!("{}={}", node.name, peer(node));
    let members = planes.iter().map(member).collect::<Vec<_>>().join(",");
    let Some((_, first)) = planes.first() else {
        return Ok(());
    };
    // A closed database is its own snapshot; it only lacks the checksum that a snapshot over the network has. The first
    // one's is renewed first, and stays one.
    let snapshot = first.join(ETCD).join("member/snap/db");
    for (node, upper) in planes {
        let restore = Cmd::new(tool)
            .args(["snapshot", "restore", "--skip-hash-check"])
            .arg(&snapshot)
            .arg(format!("--name={}", node.name))
            .arg(format!("--initial-cluster={members}"))
            .arg(format!("--initial-advertise-peer-urls={}", peer(node)));
        renew(&upper.join(ETCD), restore, tool)?;
    }
    Ok(())
}

/// Puts what `restore` makes in the place of the data directory `data`.
fn renew(data: &Path, restore: Cmd, tool: &Path) -> Result<(), ScrubError> {
    let renewed = data.with_file_name("etcd.renewed");
    restore.arg("--data-dir").arg(&renewed).run()?;
    // Restoring copies the file page by page, free pages included.
    Cmd::new(tool)
        .arg("defrag")
        .arg("--data-dir")
        .arg(&renewed)
        .run()?;
    fs::remove_dir_all(data.join("member")).map_err(failed("remove", data))?;
    fs::rename(renewed.join("member"), data.join("member")).map_err(failed("replace", data))?;
    Ok(fs::remove_dir(&renewed).map_err(failed("remove", &renewed))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Owner, scrub};

    #[test]
    fn what_users_keep_stays_with_them() {
        for (owner, kept) in [(Owner::Bake, false), (Owner::User, true)] {
            let upper = tempfile::tempdir().unwrap();
            let taken = "var/lib/cni/networks/local/192.168.8.2";
            for path in [
                "root/notes",
                "var/tmp/x",
                "srv/data",
                "etc/kubernetes/admin.conf",
                taken,
            ] {
                let path = upper.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            fs::create_dir_all(upper.path().join("etc/kubernetes/pki/etcd")).unwrap();
            scrub(upper.path(), owner).unwrap();
            let there = |path: &str| upper.path().join(path).exists();
            assert_eq!((there("root/notes"), there("var/tmp/x")), (kept, kept));
            assert!(there("srv/data"));
            assert!(!there("etc/kubernetes/admin.conf") && !there("etc/kubernetes/pki"));
            assert!(!there("var/lib/cni"));
        }
        // A machine that wrote nothing.
        scrub(tempfile::tempdir().unwrap().path(), Owner::User).unwrap();
    }
}
