//! From a running, ready cluster to one that can be frozen: no credential of its own left, nothing that would hold
//! the next start up, databases small and closed.

use std::fs;
use std::path::{Path, PathBuf};

use parbake_cluster::{Client, Description, Node, settle};
use parbake_machine::process::Cmd;
use parbake_machine::running::Running;
use tokio::runtime::Runtime;

use super::Error;
use super::boot::{on, shell};
use super::head_start;

/// What `parbake-iptables.service` restores, once kube-proxy has had nothing to add for two of its periods. The kernel
/// may know no nfacct, and the counters mean nothing any more.
const SAVE_RULES: &str = r#"
mkdir -p /var/lib/parbake
cd /var/lib/parbake
rules() { iptables-save | grep -v -e nfacct -e '^#' | sed 's/\[[0-9:]*\]/[0:0]/'; }
rules > iptables.rules
for _ in $(seq 30); do
    sleep 2
    rules > iptables.rules.now
    if cmp -s iptables.rules.now iptables.rules; then break; fi
    mv iptables.rules.now iptables.rules
done
rm -f iptables.rules.now
"#;
/// Compacts the database to its newest revision, so that deleted secrets are in no old one.
const COMPACT: &str = r#"
etcd=$(crictl ps -q --name '^etcd$')
ctl() {
    crictl exec "$etcd" etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
        --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key "$@"
}
revision=$(ctl endpoint status --write-out=fields | sed -n 's/^"Revision" : //p')
ctl compact --physical "$revision"
"#;
/// Ends every pod, etcd last, since the others need it to end in order.
pub(super) const STOP_PODS: &str = r#"
for pod in $(crictl pods -q --label tier=control-plane | grep -vxF "$(crictl pods -q --name ^etcd-)" || true) \
        $(crictl pods -q --name ^etcd-); do
    crictl stopp "$pod" || true
done
crictl rmp -fa
"#;
/// What a machine wrote that must not or need not be in the artifact, below its upper directory: credentials, what
/// kubeadm was told, volumes of pods that are started anew, logs, and what every start of a node makes by itself.
const SCRAPS: [&str; 18] = [
    "etc/.updated",
    "etc/kubernetes/pki",
    "etc/kubernetes/tmp",
    "etc/machine-id",
    "etc/parbake",
    "root",
    "tmp",
    "var/.updated",
    "var/lib/dbus/machine-id",
    "var/lib/kubelet/checkpoints",
    "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/pki",
    "var/lib/kubelet/plugins_registry",
    "var/lib/kubelet/pods",
    // Where the images' layers were mounted.
    "var/lib/parbake/images",
    "var/lib/systemd",
    "var/log",
    "var/tmp",
];
/// Where kubeadm puts kubeconfigs, `NAME.conf`.
const KUBECONFIGS: &str = "etc/kubernetes";
/// etcd's data directory on the control plane.
const ETCD: &str = "var/lib/etcd";

/// Quiets the cluster down and removes its credentials, files and database alike. The machines still run afterwards,
/// with no pod left.
pub(super) fn settle(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    cluster: &Description,
) -> Result<(), Error> {
    let _step = tracing::info_span!("step", what = "settle").entered();
    let names: Vec<String> = cluster.nodes().iter().map(|node| node.name.to_string()).collect();
    for plane in cluster.control_planes() {
        head_start::record(running, plane)?;
    }
    for node in &names {
        shell(running, node, SAVE_RULES)?;
        on(running, node, &["systemctl", "stop", "kubelet"])?;
    }
    for plane in cluster.control_planes() {
        // They would make anew what is deleted next.
        let names = "^(kube-controller-manager|kube-scheduler)$";
        shell(
            running,
            plane.name.as_str(),
            &format!("crictl stop $(crictl ps -q --name '{names}')"),
        )?;
    }
    runtime.block_on(settle::forget(client))?;
    for plane in cluster.control_planes() {
        shell(running, plane.name.as_str(), COMPACT)?;
    }
    for node in names.iter().rev() {
        shell(running, node, STOP_PODS)?;
    }
    Ok(())
}

/// Removes from a stopped machine's upper directory what is not to be frozen, and writes etcd's files anew: the old ones
/// keep deleted entries in their log and in free pages.
pub(super) fn clean(upper: &Path, node: &Node, etcdutl: Option<&Path>) -> Result<(), Error> {
    for path in SCRAPS {
        remove(&upper.join(path))?;
    }
    let dir = upper.join(KUBECONFIGS);
    let kubeconfigs = fs::read_dir(&dir).map_err(|source| Error::Files {
        act: "list",
        path: dir,
        source,
    })?;
    for path in kubeconfigs.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "conf") {
            remove(&path)?;
        }
    }
    match etcdutl {
        Some(etcdutl) => renew_database(&upper.join(ETCD), node, etcdutl),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(|source| Error::Files {
        act: "remove",
        path: path.to_owned(),
        source,
    })
}

fn renew_database(data: &Path, node: &Node, etcdutl: &Path) -> Result<(), Error> {
    let files = |act, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Files { act, path, source }
    };
    let renewed: PathBuf = data.with_file_name("etcd.renewed");
    let peer = format!("https://{}:2380", node.address);
    // A closed database is its own snapshot; it only lacks the checksum that a snapshot over the network has.
    Cmd::new(etcdutl)
        .args(["snapshot", "restore", "--skip-hash-check"])
        .arg(data.join("member/snap/db"))
        .arg(format!("--name={}", node.name))
        .arg(format!("--initial-cluster={}={peer}", node.name))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg("--data-dir")
        .arg(&renewed)
        .run()?;
    // Restoring copies the file page by page, free pages included.
    Cmd::new(etcdutl)
        .arg("defrag")
        .arg("--data-dir")
        .arg(&renewed)
        .run()?;
    fs::remove_dir_all(data.join("member")).map_err(files("remove", data))?;
    fs::rename(renewed.join("member"), data.join("member")).map_err(files("replace", data))?;
    fs::remove_dir(&renewed).map_err(files("remove", &renewed))
}
