//! Telling a thawed cluster's inhabitants whom to trust: its new certificate authorities.
//!
//! The database remembers the authorities of the bake in three places that nothing else puts right, or not in
//! time:
//!
//! - `kube-root-ca.crt` in every namespace (since 1.20): what pods check the API with. The controller manager would write
//!   it seconds later, and pods wait for it or start with the wrong one.
//! - `cluster-info` in `kube-public`: what joining nodes check the API with.
//! - `extension-apiserver-authentication` in `kube-system`: what extension API servers check clients with. The
//!   API server adds its authorities to it but never takes out the old ones, so without us a key from the
//!   cluster that was frozen would still open them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::api_error::{ApiError, absent_is_fine, is_absent, is_conflict};
use crate::tokens::{self, Signer};
use crate::wait::{Poll, TimedOut, Wait};

/// The config map that pods check the API with.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
/// The config map that joining nodes check the API with, and its namespace.
pub(crate) const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");
/// The config map that extension API servers check clients with, and its namespace.
const AUTHENTICATION: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// Without this annotation the controller manager would write every `kube-root-ca.crt` once more.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
     the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
     Kubernetes clusters.",
);

/// Whom a cluster's inhabitants are to trust.
#[derive(Debug, Clone, Copy)]
pub struct Authorities<'a> {
    /// The certificate authority of the cluster, as PEM.
    pub cluster: &'a str,
    /// The certificate authority of the front proxy, as PEM.
    pub front_proxy: &'a str,
    /// The URL of the API inside the cluster, for `cluster-info`.
    pub api_url: &'a str,
    /// Who signs the tokens of service accounts.
    pub signer: &'a dyn Signer,
    /// Whether namespaces have a `kube-root-ca.crt`, see [`Dialect::has_root_ca_maps`](crate::version_compat::Dialect).
    pub root_ca_maps: bool,
}

/// Publishes the authorities and makes the tokens of service accounts that are kept in secrets anew.
///
/// May be called before the API answers: tries until it has all been written. The client should be a
/// super-admin's, whom the API lets in before it has loaded its access rules.
///
/// # Errors
/// [`TimedOut`] with the last request that failed.
pub async fn publish(client: &Client, authorities: Authorities<'_>, limit: Duration) -> Result<(), TimedOut> {
    Wait::new("the API to take the new certificate authority", limit)
        .pause(Duration::from_millis(50))
        .until(|| async {
            match publish_once(client, authorities).await {
                Ok(()) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.line()),
            }
        })
        .await
}

async fn publish_once(client: &Client, authorities: Authorities<'_>) -> Result<(), ApiError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = namespaces.list_metadata(&ListParams::default()).await;
    let namespaces = namespaces.map_err(ApiError::new("list namespaces"))?;
    let living = namespaces
        .items
        .iter()
        .filter(|namespace| authorities.root_ca_maps && namespace.metadata.deletion_timestamp.is_none());
    let root_cas = living.map(|namespace| put(client, root_ca(&namespace.name_any(), authorities)));
    tokio::try_join!(
        try_join_all(root_cas),
        put(client, cluster_info(authorities)),
        replace_authentication(client, authorities),
        tokens::renew(client, authorities.signer, authorities.cluster),
    )?;
    Ok(())
}

fn root_ca(namespace: &str, authorities: Authorities<'_>) -> ConfigMap {
    let mut map = config_map(namespace, ROOT_CA, "ca.crt", authorities.cluster.to_owned());
    map.metadata.annotations = Some(BTreeMap::from([(
        DESCRIPTION.0.to_owned(),
        DESCRIPTION.1.to_owned(),
    )]));
    map
}

/// As kubeadm makes it: a kubeconfig with a single, nameless cluster.
fn cluster_info(authorities: Authorities<'_>) -> ConfigMap {
    let (namespace, name) = CLUSTER_INFO;
    let kubeconfig = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {}\n  \
         name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n",
        STANDARD.encode(authorities.cluster),
        authorities.api_url,
    );
    config_map(namespace, name, "kubeconfig", kubeconfig)
}

fn config_map(namespace: &str, name: &str, key: &str, value: String) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(key.to_owned(), value)])),
        ..ConfigMap::default()
    }
}

/// Creates the config map, or replaces it with all that is in it.
async fn put(client: &Client, map: ConfigMap) -> Result<(), ApiError> {
    let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let result = match api.create(&PostParams::default(), &map).await {
        Err(error) if is_conflict(&error) => api.replace(&name, &PostParams::default(), &map).await,
        result => result,
    };
    match result {
        Ok(_) => Ok(()),
        // The namespace went away meanwhile.
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(ApiError::new(format!(
            "write the config map `{namespace}/{name}`"
        ))(error)),
    }
}

async fn replace_authentication(client: &Client, authorities: Authorities<'_>) -> Result<(), ApiError> {
    let (namespace, name) = AUTHENTICATION;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let new = Patch::Merge(json!({"data": {
        "client-ca-file": authorities.cluster,
        "requestheader-client-ca-file": authorities.front_proxy,
    }}));
    // Where it is absent the API server writes it, with nothing old to add to.
    absent_is_fine(api.patch(name, &PatchParams::default(), &new).await).map_err(ApiError::new(format!(
        "write the config map `{namespace}/{name}`"
    )))
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::{Authorities, cluster_info, root_ca};
    use crate::tokens::{Account, Signer};

    const AUTHORITIES: Authorities<'_> = Authorities {
        cluster: "PEM\n",
        front_proxy: "FRONT\n",
        api_url: "https://10.89.0.11:6443",
        signer: &Nobody,
        root_ca_maps: true,
    };

    #[derive(Debug)]
    struct Nobody;

    impl Signer for Nobody {
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
    fn the_root_ca_looks_like_the_controller_managers() {
        let map = root_ca("default", AUTHORITIES);
        assert_eq!(map.data.unwrap()["ca.crt"], "PEM\n");
        assert!(
            map.metadata
                .annotations
                .unwrap()
                .contains_key("kubernetes.io/description")
        );
    }
}
