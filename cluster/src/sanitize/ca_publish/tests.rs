use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::{CertificateAuthorities, cluster_info, publish, root_ca};
use crate::api::test_server::TestServer;
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
        "reason": "x"})
}

const WEBHOOK_DOWN: (u16, &str) = (
    500,
    "Internal error occurred: failed calling webhook \"x\": connection refused",
);

#[tokio::test]
async fn rejection_in_a_users_namespace_does_not_fail_the_thaw() {
    for rejection in [
        WEBHOOK_DOWN,
        (403, "configmaps is forbidden: exceeded quota: q"),
        (400, "denied"),
    ] {
        let server = api_server(move |namespace| (namespace == "shop").then_some(rejection));
        publish(&server.client().await, AUTHORITIES, LIMIT, ready(()))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn rejected_config_map_is_retried_until_it_is_accepted() {
    let attempts = AtomicUsize::new(0);
    let server = api_server(move |namespace| {
        let is_rejected = namespace == "shop" && attempts.fetch_add(1, Ordering::SeqCst) < 2;
        is_rejected.then_some(WEBHOOK_DOWN)
    });
    publish(&server.client().await, AUTHORITIES, LIMIT, pending())
        .await
        .unwrap();
    let created = |request: &&String| request.as_str() == "POST /api/v1/namespaces/shop/configmaps";
    assert_eq!(server.requests().iter().filter(created).count(), 3);
    assert!(!server.requests().iter().any(|request| request.contains("/gone/")));
}

#[tokio::test]
async fn other_failures_are_errors() {
    let limit = Duration::from_secs(2);
    for (namespace, failure) in [
        ("shop", (500, "etcdserver: request timed out")),
        ("kube-system", WEBHOOK_DOWN),
    ] {
        let server = api_server(move |other| (other == namespace).then_some(failure));
        let outcome = publish(&server.client().await, AUTHORITIES, limit, ready(())).await;
        let error = outcome.unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{namespace}/kube-root-ca.crt`")),
            "{error}"
        );
    }
}
