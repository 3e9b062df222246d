//! A node that joins a cluster that runs: `kubeadm join`, and all that it needs.
//!
//! A thaw runs no kubeadm. But a node that was not baked has no frozen state to be thawed, and what makes a machine a member,
//! its certificate and its kubelet's configuration in the cluster's own version, is best made by the tool that the
//! cluster was made with. So kubeadm is known here, and by the bake; whoever adds nodes knows an [`Invitation`].
//!
//! ```text
//! invite     a bootstrap token of 10 minutes, signed into `cluster-info` by the cluster; the hash of the authority's key
//! announce   the node's object with its part of the pods' network, so that the control plane gives it no other
//! join       `kubeadm join` on the machine: the token is good for nothing but a certificate of this node
//! withdraw   the token is deleted
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
use thiserror::Error;

use crate::api_error::{ApiError, absent_is_fine};
use crate::ca_publish::CLUSTER_INFO;
use crate::container_runtime::ContainerRuntime;
use crate::description::{Description, Node};
use crate::runtime_config;
use crate::version::KubernetesVersion;
use crate::wait::{Poll, TimedOut, Wait};
pub use config::{KubeletSettings, ca_hash, document, new_token, registration};

/// How long a token is good for, should nobody come to delete it.
const VALIDITY: SignedDuration = SignedDuration::from_mins(10);
/// How long the cluster may take to sign for a token.
const SIGNED: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// Where bootstrap tokens live.
const SYSTEM: &str = "kube-system";
/// The label of our bootstrap tokens.
const LABEL: &str = "parbake.dev/invitation";
/// Where kubeadm finds what is to be patched (Kubernetes documentation, 'Customizing components with the kubeadm API').
const PATCHES: &str = "/run/parbake-join/patches";
/// Runs kubeadm with its configuration from standard input: it holds the token, so it is in memory only, and not for long. An
/// argument is a patch of the kubelet's configuration.
const JOIN: &str = "umask 077; trap 'rm -rf /run/parbake-join' EXIT; mkdir -p /run/parbake-join/patches; \
                    cd /run/parbake-join; cat > config; \
                    [ -z \"$1\" ] || printf %s \"$1\" > patches/kubeletconfiguration+merge.json; \
                    kubeadm join --config config";

/// A node that could not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The kubeconfig holds no authority to pin.
    #[error("the cluster's own kubeconfig names no certificate authority")]
    NoAuthority,
    /// There are no random bytes for a token.
    #[error("could not make a bootstrap token")]
    Token(#[source] getrandom::Error),
    /// The API refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The cluster did not sign for the token.
    #[error(transparent)]
    Unsigned(#[from] TimedOut),
    /// The machine does not run.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    /// Its runtime does not answer, or kubeadm failed.
    #[error("`{node}` could not join the cluster")]
    Kubeadm {
        /// The node.
        node: String,
        /// What was run, and what it said.
        #[source]
        source: parbake_machine::Error,
    },
}

/// What lets nodes into a cluster, for some minutes.
pub struct Invitation {
    version: KubernetesVersion,
    runtime: ContainerRuntime,
    endpoint: String,
    token: String,
    ca_hash: String,
}

impl Invitation {
    /// Makes a token, and waits until the cluster has signed for it. `kubeconfig` is one that is trusted already: its
    /// authority is the one that nodes will trust.
    ///
    /// # Errors
    /// The API refused it, or it was not signed; it is deleted then.
    pub async fn issue(client: &Client, cluster: &Description, kubeconfig: &str) -> Result<Self, JoinError> {
        let invitation = Self {
            version: cluster.kubernetes().clone(),
            runtime: cluster.runtime(),
            endpoint: cluster.api_server().to_string(),
            token: new_token().map_err(JoinError::Token)?,
            ca_hash: ca_hash(kubeconfig).ok_or(JoinError::NoAuthority)?,
        };
        let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
        let created = secrets
            .create(&PostParams::default(), &invitation.secret(Timestamp::now()))
            .await;
        created.map_err(ApiError::new("make a bootstrap token"))?;
        match invitation.signed(client).await {
            Ok(()) => Ok(invitation),
            Err(error) => {
                // It expires by itself.
                let _ = invitation.withdraw(client).await;
                Err(error.into())
            }
        }
    }

    /// kubeadm would look every 5 s.
    async fn signed(&self, client: &Client) -> Result<(), TimedOut> {
        let (namespace, name) = CLUSTER_INFO;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let key = format!("jws-kubeconfig-{}", self.id());
        Wait::new("the controller manager to sign for a bootstrap token", SIGNED)
            .pause(PAUSE)
            .until(|| async {
                let signed = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key(&key));
                match maps.get(name).await {
                    Ok(map) if signed(&map) => Poll::Seen(()),
                    Ok(_) => Poll::Pending(format!("no `{key}` in `{namespace}/{name}`")),
                    Err(error) => {
                        Poll::Pending(ApiError::new(format!("read `{namespace}/{name}`"))(error).line())
                    }
                }
            })
            .await
    }

    /// Tells the API of nodes before their kubelets do, each with its part of the pods' network.
    ///
    /// # Errors
    /// There is such a node, or the API refused it for another reason.
    pub async fn announce(&self, client: &Client, nodes: &[Node]) -> Result<(), JoinError> {
        let api: Api<ApiNode> = Api::all(client.clone());
        for node in nodes {
            let created = api.create(&PostParams::default(), &announced(node)).await;
            created.map_err(ApiError::new(format!("announce node `{}`", node.name)))?;
        }
        Ok(())
    }

    /// Has machines that have just been booted join the cluster, side by side, one for each of `nodes`, with the settings
    /// that stand beside it. Their kubelets run then and have certificates; whether they are ready is another matter.
    ///
    /// # Errors
    /// The first of them that could not join.
    pub async fn join(&self, running: &Running, nodes: &[(&Node, KubeletSettings)]) -> Result<(), JoinError> {
        let mut joins = Vec::new();
        for (node, settings) in nodes {
            let name = node.name.to_string();
            let answers = running.command(&name, ["crictl", "version"])?;
            let patch = settings.configuration.as_ref().map(Value::to_string);
            let join = ["sh", "-euc", JOIN, "sh", &patch.unwrap_or_default()];
            let join = running
                .command(&name, join)?
                .stdin(self.configuration(node, settings));
            joins.push(tokio::task::spawn_blocking(move || {
                let _step = tracing::info_span!("step", what = format!("kubeadm join on {name}")).entered();
                let outcome = runtime_config::wait_until_it_answers(&answers).and_then(|()| join.run());
                outcome.map_err(|source| JoinError::Kubeadm { node: name, source })
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

    /// The file for `kubeadm join --config` on `node`, as that version reads it.
    fn configuration(&self, node: &Node, settings: &KubeletSettings) -> String {
        let mut document = document(self.runtime, node, &self.endpoint, &self.token, &self.ca_hash);
        if let Some(arguments) = document["nodeRegistration"]["kubeletExtraArgs"].as_array_mut() {
            let more = settings.arguments.iter();
            arguments.extend(more.map(|(name, value)| json!({ "name": name, "value": value })));
        }
        if settings.configuration.is_some() {
            document["patches"] = json!({ "directory": PATCHES });
        }
        let document = self.version.dialect().kubeadm(document);
        // JSON is YAML.
        format!("{document:#}\n")
    }

    /// Deletes the token.
    ///
    /// # Errors
    /// The API refused; the token expires by itself.
    pub async fn withdraw(&self, client: &Client) -> Result<(), ApiError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
        let deleted = secrets
            .delete(&self.secret_name(), &DeleteParams::default())
            .await;
        absent_is_fine(deleted).map_err(ApiError::new("delete the bootstrap token"))
    }

    /// The part of the token that is no secret.
    fn id(&self) -> &str {
        self.token.split('.').next().unwrap_or_default()
    }

    fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id())
    }

    /// Kubernetes documentation, 'Authenticating with Bootstrap Tokens', Bootstrap Token Secret Format.
    fn secret(&self, now: Timestamp) -> Secret {
        let (id, secret) = self.token.split_once('.').unwrap_or_default();
        // Whole seconds, as RFC 3339 has them.
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

/// Deletes the tokens of all invitations, those of commands that were killed as well.
///
/// # Errors
/// The API refused; tokens expire by themselves.
pub async fn withdraw_all(client: &Client) -> Result<(), ApiError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let all = ListParams::default().labels(LABEL);
    let deleted = secrets.delete_collection(&DeleteParams::default(), &all).await;
    absent_is_fine(deleted).map_err(ApiError::new("delete bootstrap tokens"))
}

fn announced(node: &Node) -> ApiNode {
    let mut announced = ApiNode::default();
    announced.metadata.name = Some(node.name.to_string());
    let label = ("kubernetes.io/hostname".to_owned(), node.name.to_string());
    announced.metadata.labels = Some(BTreeMap::from([label]));
    let spec = announced.spec.get_or_insert_default();
    spec.pod_cidrs = Some(node.pod_cidrs().map(|pods| pods.to_string()).collect());
    spec.pod_cidr = Some(node.pod_cidr.to_string());
    announced
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Invitation, KubeletSettings};
    use crate::container_runtime::ContainerRuntime;
    use crate::description::tests::fourth;

    fn invitation(version: &str) -> Invitation {
        Invitation {
            version: version.parse().unwrap(),
            runtime: ContainerRuntime::CriO,
            endpoint: "10.89.0.11:6443".to_owned(),
            token: "abcdef.0123456789abcdef".to_owned(),
            ca_hash: "sha256:0abc".to_owned(),
        }
    }

    fn configuration(version: &str, settings: &KubeletSettings) -> Value {
        let text = invitation(version).configuration(&fourth(), settings);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_token_is_a_secret_of_ten_minutes() {
        let secret = invitation("v1.34.4").secret("2026-03-01T10:00:00.7Z".parse().unwrap());
        assert_eq!(secret.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        let data = secret.string_data.unwrap();
        assert_eq!(data["token-id"], "abcdef");
        assert_eq!(data["token-secret"], "0123456789abcdef");
        assert_eq!(data["expiration"], "2026-03-01T10:10:00Z");
    }

    #[test]
    fn nothing_is_pulled_and_the_authority_is_pinned() {
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
    fn a_kubelet_is_told_its_settings_in_every_version() {
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
