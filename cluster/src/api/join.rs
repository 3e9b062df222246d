//! Joining nodes to a running cluster with `kubeadm join`.
//!
//! A thaw runs no kubeadm. But a node that was not baked has no frozen state, and kubeadm knows best how its own version
//! creates a node's certificate and kubelet configuration.
//!
//! ```text
//! create         a bootstrap token of 10 minutes, which the cluster signs into `cluster-info`; the hash of the CA's key
//! create_nodes   the node objects with their pod networks, so that the controller manager assigns no others
//! join           `kubeadm join` on the machines: the token only authorizes a certificate for a node
//! revoke         deletes the token
//! ```

mod config;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Node as ApiNode, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use parbake_machine::supervisor::Running;
use serde_json::{Value, json};

use super::objects::{CLUSTER_INFO, SYSTEM_NAMESPACE};
use super::response::{ignore_not_found, request_failed};
use crate::error::Error;
use crate::model::container_runtime::ContainerRuntime;
use crate::model::description::{Description, Node};
use crate::model::runtime_config;
use crate::model::version::KubernetesVersion;
use crate::wait::{Poll, TimedOut, Wait, one_line};
pub use config::{KubeletSettings, ca_hash, join_configuration, new_token, node_registration};

/// The lifetime of a token that is not deleted.
const VALIDITY: SignedDuration = SignedDuration::from_mins(10);
/// The time for the controller manager to sign `cluster-info`.
const SIGNING_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The label of our bootstrap tokens.
const LABEL: &str = "parbake.dev/invitation";
/// The directory with kubeadm's patches (Kubernetes documentation, 'Customizing components with the kubeadm API').
const PATCHES: &str = "/run/parbake-join/patches";
/// Runs kubeadm with a configuration from standard input. It contains the token, so it is only kept on a tmpfs, until
/// kubeadm ends. The argument is a patch of the kubelet's configuration.
const JOIN: &str = "umask 077; trap 'rm -rf /run/parbake-join' EXIT; mkdir -p /run/parbake-join/patches; \
                    cd /run/parbake-join; cat > config; \
                    [ -z \"$1\" ] || printf %s \"$1\" > patches/kubeletconfiguration+merge.json; \
                    kubeadm join --config config";

/// A bootstrap token with which nodes can join a cluster for some minutes.
pub struct JoinToken {
    version: KubernetesVersion,
    runtime: ContainerRuntime,
    endpoint: String,
    token: String,
    ca_hash: String,
}

impl JoinToken {
    /// Creates a token, and waits until the cluster has signed `cluster-info` with it. Nodes will trust the certificate
    /// authority of `kubeconfig`.
    ///
    /// # Errors
    /// A request failed, or `cluster-info` was not signed; the token is deleted then.
    pub async fn create(client: &Client, cluster: &Description, kubeconfig: &str) -> Result<Self, Error> {
        let token = Self {
            version: cluster.kubernetes().clone(),
            runtime: cluster.runtime(),
            endpoint: cluster.api_server().to_string(),
            token: new_token().map_err(Error::BootstrapToken)?,
            ca_hash: ca_hash(kubeconfig).ok_or(Error::NoCertificateAuthority)?,
        };
        let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let created = secrets
            .create(&PostParams::default(), &token.secret(Timestamp::now()))
            .await;
        created.map_err(request_failed("create a bootstrap token"))?;
        if let Err(error) = token.wait_until_signed(client).await {
            // It also expires by itself.
            let _ = token.revoke(client).await;
            return Err(error.into());
        }
        Ok(token)
    }

    /// Waits until `cluster-info` is signed; kubeadm itself would check only every 5 s.
    async fn wait_until_signed(&self, client: &Client) -> Result<(), TimedOut> {
        let (namespace, name) = CLUSTER_INFO;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let key = format!("jws-kubeconfig-{}", self.id());
        let what = "the controller manager to sign `cluster-info` with a bootstrap token";
        let wait = Wait::new(what, SIGNING_TIMEOUT).interval(POLL_INTERVAL);
        wait.until(|| async {
            let is_signed = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key(&key));
            match maps.get(name).await {
                Ok(map) if is_signed(&map) => Poll::Ready(()),
                Ok(_) => Poll::Pending(format!("no `{key}` in `{namespace}/{name}`")),
                Err(error) => {
                    let failed = request_failed(format!("read `{namespace}/{name}`"));
                    Poll::Pending(one_line(&failed(error)))
                }
            }
        })
        .await
    }

    /// Creates the node objects with their pod networks before the kubelets do.
    ///
    /// # Errors
    /// A node exists already, or another request failed.
    pub async fn create_nodes(&self, client: &Client, nodes: &[Node]) -> Result<(), Error> {
        let api: Api<ApiNode> = Api::all(client.clone());
        for node in nodes {
            let created = api.create(&PostParams::default(), &node_object(node)).await;
            created.map_err(request_failed(format!("create node `{}`", node.name)))?;
        }
        Ok(())
    }

    /// Runs `kubeadm join` in parallel on machines that have just booted, one for each of `nodes`. Afterwards their kubelets
    /// have certificates and run, but may not be ready yet.
    ///
    /// # Errors
    /// The first node that could not join.
    pub async fn join(&self, running: &Running, nodes: &[(&Node, KubeletSettings)]) -> Result<(), Error> {
        let mut joins = Vec::new();
        for (node, settings) in nodes {
            let name = node.name.to_string();
            let query = running.command(&name, ["crictl", "version"])?;
            let patch = settings.configuration.as_ref().map(Value::to_string);
            let join = ["sh", "-euc", JOIN, "sh", &patch.unwrap_or_default()];
            let join = running
                .command(&name, join)?
                .stdin(self.configuration(node, settings));
            joins.push(tokio::task::spawn_blocking(move || {
                let _step = tracing::info_span!("step", what = format!("kubeadm join on {name}")).entered();
                let outcome = runtime_config::wait_until_runtime_answers(&query).and_then(|()| join.run());
                outcome.map_err(|source| Error::OnNode {
                    act: "join the cluster",
                    node: name,
                    source,
                })
            }));
        }
        for join in futures::future::join_all(joins).await {
            match join {
                Ok(outcome) => drop(outcome?),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(())
    }

    /// The file for `kubeadm join --config` on `node`, in the version's format.
    fn configuration(&self, node: &Node, settings: &KubeletSettings) -> String {
        let mut document = join_configuration(self.runtime, node, &self.endpoint, &self.token, &self.ca_hash);
        if let Some(arguments) = document["nodeRegistration"]["kubeletExtraArgs"].as_array_mut() {
            let more = settings.arguments.iter();
            arguments.extend(more.map(|(name, value)| json!({ "name": name, "value": value })));
        }
        if settings.configuration.is_some() {
            document["patches"] = json!({ "directory": PATCHES });
        }
        let document = self.version.compat().kubeadm(document);
        // JSON is YAML.
        format!("{document:#}\n")
    }

    /// Deletes the token.
    ///
    /// # Errors
    /// The request failed; the token still expires by itself.
    pub async fn revoke(&self, client: &Client) -> Result<(), Error> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let deleted = secrets
            .delete(&self.secret_name(), &DeleteParams::default())
            .await;
        ignore_not_found(deleted).map_err(request_failed("delete the bootstrap token"))
    }

    /// The public part of the token.
    fn id(&self) -> &str {
        self.token.split('.').next().unwrap_or_default()
    }

    fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id())
    }

    /// Kubernetes documentation, 'Authenticating with Bootstrap Tokens', Bootstrap Token Secret Format.
    fn secret(&self, now: Timestamp) -> Secret {
        let (id, secret) = self.token.split_once('.').unwrap_or_default();
        // RFC 3339 with whole seconds.
        let expires = Timestamp::from_second((now + VALIDITY).as_second()).unwrap_or(now);
        let data = [
            ("token-id", id),
            ("token-secret", secret),
            ("expiration", &expires.to_string()),
            ("usage-bootstrap-authentication", "true"),
            ("usage-bootstrap-signing", "true"),
            (
                "auth-extra-groups",
                "system:bootstrappers:kubeadm:default-node-token",
            ),
            ("description", "parbake: nodes that join"),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut token = Secret {
            type_: Some("bootstrap.kubernetes.io/token".to_owned()),
            string_data: Some(BTreeMap::from(data)),
            ..Secret::default()
        };
        token.metadata.name = Some(self.secret_name());
        token.metadata.labels = Some(BTreeMap::from([(LABEL.to_owned(), String::new())]));
        token
    }
}

/// Deletes all join tokens, including those of commands that were killed.
///
/// # Errors
/// The request failed; tokens still expire by themselves.
pub async fn revoke_all(client: &Client) -> Result<(), Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let all = ListParams::default().labels(LABEL);
    let deleted = secrets.delete_collection(&DeleteParams::default(), &all).await;
    ignore_not_found(deleted).map_err(request_failed("delete bootstrap tokens"))
}

fn node_object(node: &Node) -> ApiNode {
    let mut object = ApiNode::default();
    object.metadata.name = Some(node.name.to_string());
    let label = ("kubernetes.io/hostname".to_owned(), node.name.to_string());
    object.metadata.labels = Some(BTreeMap::from([label]));
    let spec = object.spec.get_or_insert_default();
    spec.pod_cidrs = Some(node.pod_cidrs().map(|pods| pods.to_string()).collect());
    spec.pod_cidr = Some(node.pod_cidr.to_string());
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{JoinToken, KubeletSettings};
    use crate::model::container_runtime::ContainerRuntime;
    use crate::model::description::tests::joining_node;

    fn join_token(version: &str) -> JoinToken {
        JoinToken {
            version: version.parse().unwrap(),
            runtime: ContainerRuntime::CriO,
            endpoint: "10.89.0.11:6443".to_owned(),
            token: "abcdef.0123456789abcdef".to_owned(),
            ca_hash: "sha256:0abc".to_owned(),
        }
    }

    fn configuration(version: &str, settings: &KubeletSettings) -> Value {
        let text = join_token(version).configuration(&joining_node(), settings);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn token_secret_expires_after_ten_minutes() {
        let secret = join_token("v1.34.4").secret("2026-03-01T10:00:00.7Z".parse().unwrap());
        assert_eq!(secret.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        let data = secret.string_data.unwrap();
        assert_eq!(data["token-id"], "abcdef");
        assert_eq!(data["token-secret"], "0123456789abcdef");
        assert_eq!(data["expiration"], "2026-03-01T10:10:00Z");
    }

    #[test]
    fn no_image_is_pulled_and_the_ca_is_pinned() {
        let value = configuration("v1.34.4", &KubeletSettings::default());
        let discovery = &value["discovery"]["bootstrapToken"];
        assert_eq!(discovery["apiServerEndpoint"], "10.89.0.11:6443");
        assert_eq!(discovery["caCertHashes"], json!(["sha256:0abc"]));
        let registration = &value["nodeRegistration"];
        assert_eq!(registration["imagePullPolicy"], "Never");
        assert_eq!(registration["criSocket"], "unix:///run/crio/crio.sock");
        assert_eq!(
            registration["kubeletExtraArgs"],
            json!([{ "name": "node-ip", "value": "10.89.0.14" }])
        );
        assert_eq!(value["patches"], Value::Null);
    }

    #[test]
    fn kubelet_settings_are_passed_in_every_version() {
        let settings = KubeletSettings {
            arguments: BTreeMap::from([("max-pods".to_owned(), "20".to_owned())]),
            configuration: Some(json!({ "failSwapOn": false })),
        };
        let value = configuration("v1.34.4", &settings);
        let arguments = &value["nodeRegistration"]["kubeletExtraArgs"];
        assert_eq!(arguments[1], json!({ "name": "max-pods", "value": "20" }));
        assert_eq!(value["patches"]["directory"], "/run/parbake-join/patches");
        let value = configuration("v1.17.17", &settings);
        assert_eq!(
            value["nodeRegistration"]["kubeletExtraArgs"],
            json!({ "node-ip": "10.89.0.14", "max-pods": "20" })
        );
    }
}
