//! Paths, modes and users of the identity's files.

use parbake_cluster::Role;
use parbake_machine::plan::SeedContent;
use webpki::KeyUsage;

use super::{Files, after, cluster, embedded, options, small, subject, verifies};
use crate::identity::Identity;

#[test]
fn users_and_groups_match_those_of_kubeadm() {
    let cases = [
        (
            "v1.34.4",
            "admin",
            "O=kubeadm:cluster-admins, CN=kubernetes-admin",
        ),
        (
            "v1.34.4",
            "super-admin",
            "O=system:masters, CN=kubernetes-super-admin",
        ),
        (
            "v1.34.4",
            "controller-manager",
            "CN=system:kube-controller-manager",
        ),
        ("v1.34.4", "scheduler", "CN=system:kube-scheduler"),
        ("v1.17.17", "admin", "O=system:masters, CN=kubernetes-admin"),
    ];
    for (version, name, expected) in cases {
        let cluster = cluster(version, &[Role::ControlPlane]);
        let identity = Identity::new(&cluster, &options()).unwrap();
        let files = Files::of(&identity, &cluster.nodes()[0]);
        let config = files.text(&format!("etc/kubernetes/{name}.conf"));
        assert_eq!(subject(&embedded(config, "client-certificate-data")).0, expected);
        assert_eq!(embedded(config, "certificate-authority-data"), identity.ca_pem());
        assert!(
            config.contains("    server: \"https://10.89.0.11:6443\"\n"),
            "{version} {name}"
        );
        assert_eq!(
            files.0.contains_key("etc/kubernetes/super-admin.conf"),
            version == "v1.34.4"
        );
    }
}

#[test]
fn kubelets_use_the_user_of_their_node() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    for node in cluster.nodes() {
        let files = Files::of(&identity, node);
        let current = "var/lib/kubelet/pki/kubelet-client-current.pem";
        let link = identity
            .files(node)
            .into_iter()
            .find(|file| file.path.to_str() == Some(current))
            .unwrap();
        let SeedContent::Link { target } = link.content else {
            panic!("no link")
        };
        let target = target.to_str().unwrap().strip_prefix('/').unwrap().to_owned();
        assert_eq!(
            target,
            "var/lib/kubelet/pki/kubelet-client-2026-03-01-10-00-00.pem"
        );
        let pem = files.text(&target);
        assert_eq!(
            subject(pem).0,
            format!("O=system:nodes, CN=system:node:{}", node.name)
        );
        assert!(verifies(
            pem,
            identity.ca_pem(),
            KeyUsage::client_auth(),
            after(0)
        ));
        let config = files.text("etc/kubernetes/kubelet.conf");
        assert!(config.contains(&format!("    client-key: /{current}\n")));
        assert!(config.contains("    server: \"https://10.89.0.11:6443\"\n"));
        let serving = files.text("var/lib/kubelet/pki/kubelet.crt");
        assert_eq!(
            subject(serving).1,
            [node.name.to_string(), node.address.to_string()]
        );
        assert!(verifies(
            serving,
            identity.ca_pem(),
            KeyUsage::server_auth(),
            after(0)
        ));
    }
}

#[test]
fn secrets_are_private_and_workers_have_only_their_own() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    for node in cluster.nodes() {
        for (path, (mode, text)) in Files::of(&identity, node).0 {
            let secret = text.contains("PRIVATE KEY") || path.ends_with(".conf");
            let public = if path == "etc/machine-id" { 0o444 } else { 0o644 };
            assert_eq!(mode, if secret { 0o600 } else { public }, "{path}");
        }
    }
    let worker: Vec<String> = Files::of(&identity, &cluster.nodes()[1]).0.into_keys().collect();
    assert_eq!(
        worker,
        [
            "etc/kubernetes/kubelet.conf",
            "etc/kubernetes/pki/ca.crt",
            "etc/machine-id",
            "var/lib/kubelet/pki/kubelet-client-2026-03-01-10-00-00.pem",
            "var/lib/kubelet/pki/kubelet.crt",
            "var/lib/kubelet/pki/kubelet.key",
        ]
    );
}

#[test]
fn control_planes_share_only_ca_and_service_account_keys() {
    let cluster = cluster("v1.34.4", &[Role::ControlPlane, Role::ControlPlane]);
    let identity = Identity::new(&cluster, &options()).unwrap();
    let [one, other] = [0, 1].map(|index| Files::of(&identity, &cluster.nodes()[index]));
    for (path, shared) in [
        ("ca.key", true),
        ("sa.key", true),
        ("etcd/ca.key", true),
        ("apiserver.key", false),
    ] {
        assert_eq!(one.pki(path) == other.pki(path), shared, "{path}");
    }
    assert!(
        other
            .text("etc/kubernetes/scheduler.conf")
            .contains("https://10.89.0.12:6443")
    );
}

#[test]
fn machine_ids_are_unique_and_have_32_digits() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let ids: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| Files::of(&identity, node).text("etc/machine-id").to_owned())
        .collect();
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        let digits = id.strip_suffix('\n').unwrap();
        assert!(
            digits.len() == 32 && digits.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
            "{id}"
        );
    }
}

#[test]
fn debug_output_hides_secrets() {
    let identity = Identity::new(&small(), &options()).unwrap();
    let shown = format!("{identity:?}");
    assert_eq!(shown, format!("Identity {{ id: {:?}, .. }}", identity.id()));
}
