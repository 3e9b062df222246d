//! Certificates and keys.

use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Files, after, certificate, dual, embedded, options, small, subject, verifies};
use crate::identity::{Identity, IdentityError, Options};

#[test]
fn dual_stack_server_certificates_hold_both_addresses() {
    let cluster = dual();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let files = Files::of(&identity, &cluster.nodes()[0]);
    let kubelet = files.text("var/lib/kubelet/pki/kubelet.crt");
    for pem in [files.pki("apiserver.crt"), kubelet] {
        let (_, names) = subject(pem);
        for address in ["10.89.0.11", "fd00:10:89::b"] {
            assert!(names.iter().any(|name| name == address), "{names:?}");
        }
    }
}

#[test]
fn certificates_match_those_of_kubeadm() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let files = Files::of(&identity, &cluster.nodes()[0]);
    let (client, server) = (KeyUsage::client_auth, KeyUsage::server_auth);
    let etcd = ["node01", "localhost", "10.89.0.11", "127.0.0.1", "::1"];
    let api = [
        "node01",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "10.96.0.1",
        "10.89.0.11",
        "127.0.0.1",
        "example.test",
        "192.0.2.7",
    ];
    let cases: [(_, _, &[KeyUsage], _, &[&str]); 7] = [
        ("apiserver", "ca", &[server()], "CN=kube-apiserver", &api),
        (
            "apiserver-kubelet-client",
            "ca",
            &[client()],
            "O=kubeadm:cluster-admins, CN=kube-apiserver-kubelet-client",
            &[],
        ),
        (
            "front-proxy-client",
            "front-proxy-ca",
            &[client()],
            "CN=front-proxy-client",
            &[],
        ),
        (
            "apiserver-etcd-client",
            "etcd/ca",
            &[client()],
            "CN=kube-apiserver-etcd-client",
            &[],
        ),
        (
            "etcd/healthcheck-client",
            "etcd/ca",
            &[client()],
            "CN=kube-etcd-healthcheck-client",
            &[],
        ),
        (
            "etcd/server",
            "etcd/ca",
            &[client(), server()],
            "CN=node01",
            &etcd,
        ),
        ("etcd/peer", "etcd/ca", &[client(), server()], "CN=node01", &etcd),
    ];
    for (name, ca, usages, expected, alt_names) in cases {
        let leaf = files.pki(&format!("{name}.crt"));
        for authority in ["ca", "front-proxy-ca", "etcd/ca"] {
            for usage in [client(), server()] {
                let expected = authority == ca && usages.contains(&usage);
                let good = verifies(leaf, files.pki(&format!("{authority}.crt")), usage, after(0));
                assert_eq!(good, expected, "{name} by {authority}");
            }
        }
        assert_eq!(
            subject(leaf),
            (
                expected.to_owned(),
                alt_names.iter().map(|&name| name.into()).collect()
            )
        );
    }
    for (name, expected) in [
        ("ca", "CN=kubernetes"),
        ("front-proxy-ca", "CN=front-proxy-ca"),
        ("etcd/ca", "CN=etcd-ca"),
    ] {
        assert_eq!(subject(files.pki(&format!("{name}.crt"))).0, expected);
    }
}

#[test]
fn api_server_certificate_is_valid_for_its_names_only() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let der = certificate(Files::of(&identity, &cluster.nodes()[0]).pki("apiserver.crt"));
    let leaf = EndEntityCert::try_from(&der).unwrap();
    for (name, good) in [
        ("127.0.0.1", true),
        ("10.96.0.1", true),
        ("kubernetes.default", true),
        ("10.89.0.12", false),
    ] {
        let result = leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap());
        assert_eq!(result.is_ok(), good, "{name}");
    }
}

#[test]
fn validity_starts_in_the_past_and_ends_as_in_kubeadm() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let files = Files::of(&identity, &cluster.nodes()[0]);
    let day = 24 * 60 * 60;
    let good = |seconds: i64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(
            after(0).as_secs().checked_add_signed(seconds).unwrap(),
        ));
        verifies(
            files.pki("apiserver.crt"),
            files.pki("ca.crt"),
            KeyUsage::server_auth(),
            time,
        )
    };
    assert!(good(-300) && good(0) && good(365 * day - 1));
    assert!(!good(-301) && !good(365 * day + 1));
    let der = certificate(files.pki("ca.crt"));
    let (_, ca) = X509Certificate::from_der(&der).unwrap();
    let years = (ca.validity().not_after.timestamp() - ca.validity().not_before.timestamp()) / (365 * day);
    assert!(ca.is_ca() && years == 10);
}

#[test]
fn every_key_matches_its_certificate() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let mut pairs = 0;
    for node in cluster.nodes() {
        let files = Files::of(&identity, node);
        for (path, (_, key)) in files.0.iter().filter(|(path, _)| path.ends_with(".key")) {
            if let Some((_, certificate)) = files.0.get(&path.replace(".key", ".crt")) {
                assert_matches(key, certificate, path);
                pairs += 1;
            }
        }
        let (_, (_, both)) = files
            .0
            .iter()
            .find(|(path, _)| path.contains("/kubelet-client-2026"))
            .unwrap();
        assert_matches(both, both, "kubelet-client");
    }
    // Ten in the control plane's PKI, and one serving certificate for each of two kubelets.
    assert_eq!(pairs, 10 + 2);
    for name in ["admin", "super-admin", "controller-manager", "scheduler"] {
        let files = Files::of(&identity, &cluster.nodes()[0]);
        let config = files.text(&format!("etc/kubernetes/{name}.conf"));
        let [key, certificate] =
            ["client-key-data", "client-certificate-data"].map(|field| embedded(config, field));
        assert_matches(&key, &certificate, name);
    }
}

fn assert_matches(key: &str, pem: &str, what: &str) {
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap() else {
        panic!("{what}")
    };
    let der = certificate(pem);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    // The public key is the last 65 bytes of both.
    let public = certificate.public_key().subject_public_key.data.as_ref();
    assert_eq!(
        (
            public.len(),
            &key.secret_pkcs8_der()[key.secret_pkcs8_der().len() - 65..]
        ),
        (65, public),
        "{what}"
    );
}

#[test]
fn service_account_key_pair_matches() {
    let cluster = small();
    let identity = Identity::new(&cluster, &options()).unwrap();
    let files = Files::of(&identity, &cluster.nodes()[0]);
    let public = SubjectPublicKeyInfoDer::from_pem_slice(files.pki("sa.pub").as_bytes()).unwrap();
    let PrivateKeyDer::Pkcs8(private) =
        PrivateKeyDer::from_pem_slice(files.pki("sa.key").as_bytes()).unwrap()
    else {
        panic!("not PKCS 8");
    };
    assert!(private.secret_pkcs8_der().ends_with(&public[public.len() - 65..]));
}

#[test]
fn two_identities_share_no_trust() {
    let cluster = small();
    let [one, other] = [0, 1].map(|_| Identity::new(&cluster, &options()).unwrap());
    assert_ne!(one.id(), other.id());
    let [mine, theirs] = [&one, &other].map(|identity| Files::of(identity, &cluster.nodes()[0]));
    let leaf = mine.pki("apiserver-kubelet-client.crt");
    assert!(!verifies(
        leaf,
        theirs.pki("ca.crt"),
        KeyUsage::client_auth(),
        after(0)
    ));
    for (path, (_, text)) in &mine.0 {
        assert_ne!(text, &theirs.0[path].1, "{path}");
    }
}

#[test]
fn invalid_alt_names_are_refused() {
    for name in ["", "a b", "é.test", "a\nb", "https://x"] {
        let options = Options {
            extra_sans: vec![name.to_owned()],
            ..options()
        };
        let error = Identity::new(&small(), &options).unwrap_err();
        assert!(matches!(error, IdentityError::AltName { .. }), "{name}: {error}");
    }
}
