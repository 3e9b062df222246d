//! The config map that tells development tools such as Tilt where to push images (KEP-1755, 'Communicating a local registry').

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::response::{is_conflict, request_failed};
use crate::error::Error;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "local-registry-hosting";
/// The owner of the fields that parbake writes.
const MANAGER: &str = "parbake";

/// Publishes that the registry `name`, as nodes and pods call it, is at `host` on the host. A config map that another
/// tool wrote is kept.
///
/// # Errors
/// The API did not accept it.
pub async fn publish(client: &Client, name: &str, host: SocketAddr) -> Result<(), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Apply(config_map(name, host));
    match api.patch(NAME, &PatchParams::apply(MANAGER), &patch).await {
        Err(error) if !is_conflict(&error) => Err(request_failed(format!(
            "write the config map `{NAMESPACE}/{NAME}`"
        ))(error)),
        _ => Ok(()),
    }
}

fn config_map(name: &str, host: SocketAddr) -> Value {
    let hosting = format!(
        "host: \"{host}\"\nhostFromContainerRuntime: \"{name}\"\nhostFromClusterNetwork: \"{name}\"\n"
    );
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": NAMESPACE, "name": NAME},
        "data": {"localRegistryHosting.v1": hosting},
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{config_map, publish};
    use crate::api::test_server::TestServer;

    fn map() -> Value {
        config_map("registry:5000", "127.0.0.1:41753".parse().unwrap())
    }

    #[test]
    fn config_map_has_the_fields_of_version_1() {
        let text = map()["data"]["localRegistryHosting.v1"]
            .as_str()
            .unwrap()
            .to_owned();
        let expected = "host: \"127.0.0.1:41753\"\nhostFromContainerRuntime: \"registry:5000\"\n\
                        hostFromClusterNetwork: \"registry:5000\"\n";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn foreign_config_map_is_kept_and_a_rejection_is_an_error() {
        for (code, accepted) in [(200, true), (409, true), (403, false), (500, false)] {
            let server = TestServer::start(move |_, _| match code {
                200 => (200, map()),
                _ => (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}),
                ),
            });
            let host = "127.0.0.1:41753".parse().unwrap();
            let published = publish(&server.client().await, "registry:5000", host).await;
            assert_eq!(published.is_ok(), accepted, "{code}: {published:?}");
            let path = "PATCH /api/v1/namespaces/kube-public/configmaps/local-registry-hosting";
            assert!(server.requests()[0].starts_with(path), "{:?}", server.requests());
        }
    }
}
