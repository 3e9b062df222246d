//! Publishing a thawed cluster's new certificate authorities.
//!
//! The frozen database has the old authorities in three places that Kubernetes does not update, or not in time:
//!
//! - `kube-root-ca.crt` in every namespace (since 1.20): pods verify the API with it. A freeze deletes it. The controller
//!   manager's root-ca-cert-publisher would create it seconds later, and pods wait for it.
//! - `cluster-info` in `kube-public`: joining nodes verify the API with it.
//! - `extension-apiserver-authentication` in `kube-system`: extension API servers verify clients with it. The API server
//!   adds its authorities but never removes old ones, so a key of the frozen cluster would still be accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::sleep;

use super::tokens::{self, Signer};
use crate::api::objects::{CLUSTER_INFO, SYSTEM_NAMESPACE};
use crate::api::response::{
    explain, ignore_not_found, is_admission_rejection, is_conflict, is_namespace_terminating, is_not_found,
    request_failed,
};
use crate::error::Error;
use crate::wait::Wait;

/// The config map that pods verify the API with.
pub(super) const ROOT_CA: &str = "kube-root-ca.crt";
/// The config map that extension API servers verify clients with.
const AUTHENTICATION: &str = "extension-apiserver-authentication";
/// The prefix of Kubernetes' own namespaces.
const SYSTEM_PREFIX: &str = "kube-";

/// The annotation of `kube-root-ca.crt`, without which the controller manager would write each once more.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
     the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
     Kubernetes clusters.",
);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The pause between two attempts to write config maps that admission rejects.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The certificate authorities of a thawed cluster.
#[derive(Debug, Clone, Copy)]
pub struct CertificateAuthorities<'a> {
    /// The cluster's, as PEM.
    pub cluster: &'a str,
    /// The front proxy's, as PEM.
    pub front_proxy: &'a str,
    /// The URL of the API inside the cluster, for `cluster-info`.
    pub api_url: &'a str,
    /// Signs service-account tokens.
    pub signer: &'a dyn Signer,
    /// True if namespaces have a `kube-root-ca.crt`, see
    /// [`VersionCompat::has_root_ca_maps`](crate::model::version_compat::VersionCompat::has_root_ca_maps).
    pub root_ca_maps: bool,
}

/// Publishes the authorities, and renews the service-account tokens in secrets. May be called before the API answers:
/// retries until `limit`. The client should be a super-admin's, which the API server authorizes before it has loaded its
/// rules.
///
/// Admission control may reject the `kube-root-ca.crt` of a user's namespace: the pods of a fail-closed webhook do not run
/// yet, or a quota is exhausted. These are retried until `ready` completes, and then left to the controller manager: no
/// pod of such a namespace can start before the config map exists, and none can start with the old authority.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn publish(
    client: &Client,
    authorities: CertificateAuthorities<'_>,
    limit: Duration,
    ready: impl Future<Output = ()>,
) -> Result<(), Error> {
    let wait = Wait::new("the API to accept the new certificate authority", limit).interval(POLL_INTERVAL);
    let mut rejected = wait.until_ok(|| publish_once(client, authorities)).await?;
    let retries = async {
        while !rejected.is_empty() {
            sleep(RETRY_INTERVAL).await;
            retry(client, authorities, &mut rejected).await;
        }
    };
    tokio::select! {
        () = retries => {}
        () = ready => {}
    }
    for (namespace, answer) in rejected {
        tracing::warn!(
            "admission control rejects the config map `{namespace}/{ROOT_CA}` ({answer}); the controller manager creates it \
             as soon as it is accepted, and pods of the namespace start only then"
        );
    }
    Ok(())
}

/// The namespaces whose `kube-root-ca.crt` was rejected, with the API's answer.
type Rejected = BTreeMap<String, String>;

async fn publish_once(client: &Client, authorities: CertificateAuthorities<'_>) -> Result<Rejected, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = namespaces.list_metadata(&ListParams::default()).await;
    let namespaces = namespaces.map_err(request_failed("list namespaces"))?;
    let active = namespaces
        .items
        .iter()
        .filter(|namespace| authorities.root_ca_maps && namespace.metadata.deletion_timestamp.is_none())
        .map(ResourceExt::name_any);
    let root_cas = active.map(|namespace| put_root_ca(client, namespace, authorities));
    let (root_cas, ..) = tokio::try_join!(
        try_join_all(root_cas),
        put(client, cluster_info(authorities)),
        replace_authentication(client, authorities),
        tokens::renew(client, authorities.signer, authorities.cluster),
    )?;
    Ok(root_cas.into_iter().flatten().collect())
}

async fn retry(client: &Client, authorities: CertificateAuthorities<'_>, rejected: &mut Rejected) {
    let namespaces = rejected.keys().cloned();
    let retried = namespaces.map(|namespace| async {
        let outcome = put_root_ca(client, namespace.clone(), authorities).await;
        (namespace, outcome)
    });
    for (namespace, outcome) in join_all(retried.collect::<Vec<_>>()).await {
        match outcome {
            Ok(None) => drop(rejected.remove(&namespace)),
            Ok(Some((namespace, answer))) => drop(rejected.insert(namespace, answer)),
            Err(error) => drop(rejected.insert(namespace, error.line())),
        }
    }
}

/// Returns the namespace and the API's answer if admission control rejects the config map in a user's namespace.
async fn put_root_ca(
    client: &Client,
    namespace: String,
    authorities: CertificateAuthorities<'_>,
) -> Result<Option<(String, String)>, Error> {
    match write(client, &root_ca(&namespace, authorities)).await {
        Ok(()) => Ok(None),
        Err(error) if is_admission_rejection(&error) && !namespace.starts_with(SYSTEM_PREFIX) => {
            Ok(Some((namespace, explain(&error))))
        }
        Err(error) => Err(write_failed(&namespace, ROOT_CA, error)),
    }
}

async fn put(client: &Client, map: ConfigMap) -> Result<(), Error> {
    let failed = |error| write_failed(&map.namespace().unwrap_or_default(), &map.name_any(), error);
    write(client, &map).await.map_err(failed)
}

fn write_failed(namespace: &str, name: &str, error: kube::Error) -> Error {
    request_failed(format!("write the config map `{namespace}/{name}`"))(error)
}

/// Creates or replaces a config map. A namespace that is being deleted needs none.
async fn write(client: &Client, map: &ConfigMap) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &map.namespace().unwrap_or_default());
    let result = match api.create(&PostParams::default(), map).await {
        Err(error) if is_conflict(&error) => api.replace(&map.name_any(), &PostParams::default(), map).await,
        result => result,
    };
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) || is_namespace_terminating(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn replace_authentication(
    client: &Client,
    authorities: CertificateAuthorities<'_>,
) -> Result<(), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let patch = Patch::Merge(json!({"data": {
        "client-ca-file": authorities.cluster,
        "requestheader-client-ca-file": authorities.front_proxy,
    }}));
    // Where it is missing, the API server creates it without old authorities.
    let patched = api.patch(AUTHENTICATION, &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(|error| write_failed(SYSTEM_NAMESPACE, AUTHENTICATION, error))
}

fn root_ca(namespace: &str, authorities: CertificateAuthorities<'_>) -> ConfigMap {
    let mut map = config_map(namespace, ROOT_CA, "ca.crt", authorities.cluster.to_owned());
    map.metadata.annotations = Some(BTreeMap::from([(
        DESCRIPTION.0.to_owned(),
        DESCRIPTION.1.to_owned(),
    )]));
    map
}

/// As kubeadm creates it: a kubeconfig with a single cluster without a name.
fn cluster_info(authorities: CertificateAuthorities<'_>) -> ConfigMap {
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

#[cfg(test)]
mod tests;
