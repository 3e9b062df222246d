//! The identity files of every node.

use std::net::SocketAddr;

use jiff::Timestamp;
use parbake_cluster::{Description, Node, Role};
use parbake_machine::plan::{SeedContent, SeedFile};
use uuid::Uuid;

use super::IdentityError;
use super::certificate::{Authority, Leaf, Pair, Usage, Validity};
use super::kubeconfig::Kubeconfig;

/// Mode of files that hold a key.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Mode of the machine id, as `systemd-machine-id-setup` sets it.
const READ_ONLY: u32 = 0o444;

const KUBELET_PKI: &str = "var/lib/kubelet/pki";

/// The files that make `node` a member of the cluster.
pub(super) fn files(
    ca: &Authority,
    cluster: &Description,
    node: &Node,
    now: Timestamp,
    validity: Validity,
) -> Result<Vec<SeedFile>, IdentityError> {
    let user = format!("system:node:{}", node.name);
    let of_nodes = |usage| Leaf {
        group: Some("system:nodes"),
        ..Leaf::new(&user, usage, validity)
    };
    let client = ca.sign(&of_nodes(Usage::Client))?;
    // Left alone, the kubelet would sign this one itself, and clients could not verify it.
    let addresses = node.addresses().map(|address| address.to_string());
    let alt_names = std::iter::once(node.name.to_string()).chain(addresses).collect();
    let server = ca.sign(&Leaf {
        alt_names,
        ..of_nodes(Usage::Server)
    })?;

    let dated = format!("kubelet-client-{}.pem", now.strftime("%Y-%m-%d-%H-%M-%S"));
    let current = format!("{KUBELET_PKI}/kubelet-client-current.pem");
    let kubeconfig = Kubeconfig {
        server: &api_url(cluster, node),
        ca: &ca.certificate(),
        user: &user,
    }
    .with_file(&format!("/{current}"));
    let mut files = vec![
        // A version 4 UUID, as systemd generates machine ids (machine-id(5)).
        file(
            "etc/machine-id",
            READ_ONLY,
            format!("{}\n", Uuid::new_v4().simple()),
        ),
        file("etc/kubernetes/kubelet.conf", SECRET, kubeconfig),
        public("etc/kubernetes/pki/ca.crt", ca.certificate()),
        secret(
            &format!("{KUBELET_PKI}/{dated}"),
            client.certificate + &client.key,
        ),
        SeedFile {
            path: current.into(),
            content: SeedContent::Link {
                target: format!("/{KUBELET_PKI}/{dated}").into(),
            },
        },
    ];
    files.extend(pair_files(&format!("{KUBELET_PKI}/kubelet"), server));
    Ok(files)
}

/// The API's URL for components on `node`. A control plane uses its own API server.
pub(super) fn api_url(cluster: &Description, node: &Node) -> String {
    match node.role {
        Role::ControlPlane => {
            let own = SocketAddr::new(node.address, cluster.api_server().port());
            format!("https://{own}")
        }
        Role::Worker => cluster.api_url(),
    }
}

/// `stem`.crt and `stem`.key.
pub(super) fn pair_files(stem: &str, pair: Pair) -> [SeedFile; 2] {
    [
        public(&format!("{stem}.crt"), pair.certificate),
        secret(&format!("{stem}.key"), pair.key),
    ]
}

/// A world-readable file.
pub(super) fn public(path: &str, text: String) -> SeedFile {
    file(path, PUBLIC, text)
}

/// A file readable by root only.
pub(super) fn secret(path: &str, text: String) -> SeedFile {
    file(path, SECRET, text)
}

fn file(path: &str, mode: u32, text: String) -> SeedFile {
    SeedFile {
        path: path.into(),
        content: SeedContent::File { mode, text },
    }
}
