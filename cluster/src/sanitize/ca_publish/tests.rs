use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::{CertificateAuthorities, cluster_info, publish, root_ca, write_to_database};
use crate::api::test_server::TestServer;
use crate::etcd::stored_object::StoredObject;
use crate::etcd::stored_object::tests::{data, message, stored};
use crate::etcd::tests::TestEtcd;
use crate::sanitize::tokens::{Account, Signer};

const AUTHORITIES: CertificateAuthorities<'_> = CertificateAuthorities {
    cluster: "PEM\n",
    front_proxy: "FRONT\n",
    api_url: "https://10.89.0.11:6443",
    signer: &NoSigner,
    root_ca_maps: true,
};
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct NoSigner;

impl Signer for NoSigner {
    fn token(&self, _: Account<'_>) -> Option<String> {
        None
    }
}

#[derive(Debug)]
struct TestSigner;

impl Signer for TestSigner {
    fn token(&self, account: Account<'_>) -> Option<String> {
        Some(format!("{}/{}", account.namespace, account.name))
    }
}

#[test]
fn cluster_info_is_a_kubeconfig_without_a_user() {
    let map = cluster_info(AUTHORITIES);
    let config = Kubeconfig::from_yaml(&map.data.unwrap()["kubeconfig"]).unwrap();
    let cluster = config.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://10.89.0.11:6443"));
    assert_eq!(cluster.certificate_authority_data.as_deref(), Some("UEVNCg=="));
    assert!(config.auth_infos.is_empty());
}

#[test]
fn root_ca_has_the_controller_managers_annotation() {
    let map = root_ca("default", AUTHORITIES);
    assert_eq!(map.data.unwrap()["ca.crt"], "PEM\n");
    let annotations = map.metadata.annotations.unwrap();
    assert!(annotations.contains_key("kubernetes.io/description"));
}

/// An API server with the namespaces `kube-system`, `shop` and `gone`, which is being deleted. `rejects` answers the creation
/// of `kube-root-ca.crt` in a namespace, or accepts it.
fn api_server(rejects: impl Fn(&str) -> Option<(u16, &'static str)> + Send + Sync + 'static) -> TestServer {
    TestServer::start(move |method, path| {
        let namespace = path
            .strip_prefix("/api/v1/namespaces/")
            .and_then(|rest| rest.split('/').next());
        match (method, path) {
            ("GET", "/api/v1/namespaces") => (200, namespaces()),
            ("GET", path) if path.contains("/configmaps/") => (404, failure(404, "not found")),
            ("GET", _) => (
                200,
                json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}),
            ),
            ("POST", _) => match rejects(namespace.unwrap_or_default()) {
                Some((code, message)) => (code, failure(code, message)),
                None => (
                    201,
                    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}),
                ),
            },
            _ => (
                200,
                json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}),
            ),
        }
    })
}

fn namespaces() -> Value {
    let item = |name: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": name}});
    let mut gone = item("gone");
    gone["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:00Z");
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "items": [item("kube-system"), item("shop"), gone]})
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": message,
        "reason": if code == 404 { "NotFound" } else { "x" }})
}

const WEBHOOK_DOWN: (u16, &str) = (
    500,
    "Internal error occurred: failed calling webhook \"x\": connection refused",
);

/// An API server that has none of the config maps yet and rejects all of them.
fn rejecting_api_server() -> TestServer {
    api_server(|_| Some(WEBHOOK_DOWN))
}

/// A database with the namespaces of [`api_server`]. The API server encrypts config maps if `encrypted`.
fn database(encrypted: bool) -> TestEtcd {
    let database = TestEtcd::default();
    let gone = message(&[(9, b"\x08\x01".to_vec())]);
    for (name, metadata) in [("kube-system", Vec::new()), ("shop", Vec::new()), ("gone", gone)] {
        database.put(&format!("/registry/namespaces/{name}"), stored(&[(1, metadata)]));
    }
    let authentication = match encrypted {
        true => b"k8s:enc:aescbc:v1:x".to_vec(),
        false => stored(&[
            data("client-ca-file", "OLD\n"),
            data("requestheader-allowed-names", "[]"),
        ]),
    };
    database.put(AUTHENTICATION_KEY, authentication);
    database
}

const AUTHENTICATION_KEY: &str = "/registry/configmaps/kube-system/extension-apiserver-authentication";

#[tokio::test]
async fn database_has_the_authorities_before_the_api_answers() {
    let database = database(false);
    let etcd = database.client().await;
    write_to_database(&etcd, AUTHORITIES).await.unwrap();
    for key in [
        "kube-system/kube-root-ca.crt",
        "shop/kube-root-ca.crt",
        "kube-public/cluster-info",
    ] {
        let value = database.value(&format!("/registry/configmaps/{key}")).unwrap();
        let map: ConfigMap = serde_json::from_slice(&value).unwrap();
        assert!(map.metadata.uid.is_some() && map.metadata.creation_timestamp.is_some());
        let value: Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(
            (&value["kind"], &value["apiVersion"]),
            (&json!("ConfigMap"), &json!("v1"))
        );
    }
    assert!(
        database
            .value("/registry/configmaps/gone/kube-root-ca.crt")
            .is_none()
    );
    let authentication = StoredObject::decode(&database.value(AUTHENTICATION_KEY).unwrap())
        .unwrap()
        .data();
    assert_eq!(authentication["client-ca-file"], b"PEM\n");
    assert_eq!(authentication["requestheader-client-ca-file"], b"FRONT\n");
    assert_eq!(authentication["requestheader-allowed-names"], b"[]");
    // Again, as after a conflict.
    let root_ca = database.value("/registry/configmaps/shop/kube-root-ca.crt");
    write_to_database(&etcd, AUTHORITIES).await.unwrap();
    assert_eq!(
        database.value("/registry/configmaps/shop/kube-root-ca.crt"),
        root_ca
    );
}

#[tokio::test]
async fn stripped_tokens_are_restored_in_the_database() {
    let database = database(false);
    let list = json!([{
        "metadata": {"name": "default-token-x", "annotations": {
            "kubernetes.io/service-account.name": "default", "kubernetes.io/service-account.uid": "u"}},
        "type": "kubernetes.io/service-account-token", "data": {"namespace": "c2hvcA=="},
    }]);
    let stripped = |kind: &str| stored(&[data("secrets.json", &list.to_string()), (3, kind.into())]);
    database.put(
        "/registry/secrets/shop/parbake-tokens",
        stripped("parbake.dev/tokens"),
    );
    database.put("/registry/secrets/kube-system/parbake-tokens", stripped("Opaque"));
    let authorities = CertificateAuthorities {
        signer: &TestSigner,
        ..AUTHORITIES
    };
    write_to_database(&database.client().await, authorities)
        .await
        .unwrap();
    let secret = database.value("/registry/secrets/shop/default-token-x").unwrap();
    let secret: Secret = serde_json::from_slice(&secret).unwrap();
    let data = secret.data.unwrap();
    assert_eq!(
        (&data["token"].0[..], &data["ca.crt"].0[..]),
        (&b"shop/default"[..], &b"PEM\n"[..])
    );
    assert_eq!(secret.metadata.namespace.as_deref(), Some("shop"));
    assert!(database.value("/registry/secrets/shop/parbake-tokens").is_none());
    assert!(
        database
            .value("/registry/secrets/kube-system/parbake-tokens")
            .is_some()
    );
}

#[tokio::test]
async fn rejection_in_a_users_namespace_does_not_fail_the_thaw() {
    for rejection in [
        WEBHOOK_DOWN,
        (403, "configmaps is forbidden: exceeded quota: q"),
        (400, "denied"),
    ] {
        let server = api_server(move |namespace| (namespace == "shop").then_some(rejection));
        let etcd = database(true).client().await;
        publish(&server.client().await, &etcd, AUTHORITIES, LIMIT)
            .await
            .unwrap();
        let created = |request: &String| request == "POST /api/v1/namespaces/kube-system/configmaps";
        assert!(
            server.requests().iter().any(created),
            "the database cannot take it"
        );
        assert!(!server.requests().iter().any(|request| request.contains("/gone/")));
    }
}

#[tokio::test]
async fn other_failures_are_errors() {
    let limit = Duration::from_secs(2);
    let server = rejecting_api_server();
    let etcd = database(true).client().await;
    let outcome = publish(&server.client().await, &etcd, AUTHORITIES, limit).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("failed calling webhook \"x\""), "{error}");
    let timed_out = |failure| async move {
        let server = api_server(move |namespace| (namespace == "shop").then_some(failure));
        let etcd = database(true).client().await;
        publish(&server.client().await, &etcd, AUTHORITIES, limit)
            .await
            .unwrap_err()
            .to_string()
    };
    let error = timed_out((500, "etcdserver: request timed out")).await;
    assert!(error.contains("`shop/kube-root-ca.crt`"), "{error}");
}
