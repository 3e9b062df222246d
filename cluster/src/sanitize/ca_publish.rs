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
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::sleep;

use super::leases;
use super::tokens::{self, Signer};
use crate::api::objects::{CLUSTER_INFO, SYSTEM_NAMESPACE};
use crate::api::response::{
    explain, ignore_not_found, is_admission_rejection, is_conflict, is_namespace_terminating, is_not_found,
    request_failed,
};
use crate::error::Error;
use crate::etcd::stored_object::{StoredObject, is_encrypted, new_object};
use crate::etcd::{Change, Etcd};
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
/// How long the database may take to answer once the API does.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);
/// Where the database has namespaces: `NAME` below.
const NAMESPACES: &str = "/registry/namespaces/";

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

/// Publishes the authorities, renews the service-account tokens in secrets, and releases the leases of former leaders. May be
/// called before the API answers: retries until `limit`. The client should be a super-admin's, which the API server
/// authorizes before it has loaded its rules.
///
/// Everything is written to the database, as soon as that answers: admission control would reject it while the pods of a
/// fail-closed webhook do not run, or where a quota is exhausted. Then the API is asked whether it sees what was written. It
/// gets what the database cannot take: config maps and secrets that the API server encrypts, and everything if the database
/// does not answer.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn publish(
    client: &Client,
    etcd: &Etcd,
    authorities: CertificateAuthorities<'_>,
    limit: Duration,
) -> Result<(), Error> {
    let wait = |what| Wait::new(what, limit).interval(POLL_INTERVAL);
    let written = wait("the database to accept the new certificate authority")
        .until_ok(|| write_to_database(etcd, authorities));
    let api_only = async {
        let answered = wait("the API to answer").until_ok(|| client.apiserver_version());
        if answered.await.is_ok() {
            sleep(DATABASE_TIMEOUT).await;
        }
    };
    tokio::select! {
        biased;
        written = written => written?,
        () = api_only => tracing::warn!("the cluster's database does not answer; everything is written through the API"),
    }
    let wait = wait("the API to accept the new certificate authority");
    Ok(wait.until_ok(|| publish_once(client, authorities)).await?)
}

async fn write_to_database(etcd: &Etcd, authorities: CertificateAuthorities<'_>) -> Result<(), Error> {
    let stored = etcd.list(NAMESPACES).await?;
    let is_active =
        |value: &[u8]| StoredObject::decode(value).is_none_or(|object| !object.is_being_deleted());
    let active = stored.iter().filter(|entry| is_active(&entry.value));
    let namespaces: Vec<String> = active
        .map(|entry| entry.key.trim_start_matches(NAMESPACES).to_owned())
        .collect();
    let (maps, tokens, leases) = tokio::try_join!(
        database_changes(etcd, &namespaces, authorities),
        tokens::database_changes(etcd, &namespaces, authorities.signer, authorities.cluster),
        leases::database_changes(etcd),
    )?;
    let changes: Vec<Change> = maps.into_iter().chain(tokens).chain(leases).collect();
    etcd.commit(&changes).await
}

async fn database_changes(
    etcd: &Etcd,
    namespaces: &[String],
    authorities: CertificateAuthorities<'_>,
) -> Result<Vec<Change>, Error> {
    let authentication = etcd
        .get(&[config_map_key(SYSTEM_NAMESPACE, AUTHENTICATION)])
        .await?;
    let Some(authentication) = authentication.first().filter(|entry| !is_encrypted(&entry.value)) else {
        return Ok(Vec::new());
    };
    let root_cas = namespaces.iter().filter(|_| authorities.root_ca_maps);
    let root_cas = root_cas.map(|namespace| root_ca(namespace, authorities));
    let mut missing: BTreeMap<String, ConfigMap> = root_cas
        .chain([cluster_info(authorities)])
        .map(|map| {
            (
                config_map_key(&map.namespace().unwrap_or_default(), &map.name_any()),
                map,
            )
        })
        .collect();
    let keys: Vec<String> = missing.keys().cloned().collect();
    for existing in etcd.get(&keys).await? {
        missing.remove(&existing.key);
    }
    let mut changes: Vec<Change> = missing
        .into_iter()
        .map(|(key, mut map)| new_object(key, &mut map))
        .collect();
    if let Some(mut object) = StoredObject::decode(&authentication.value) {
        object.extend_data(&authentication_data(authorities));
        changes.push(Change::replace(authentication, object.encode()));
    }
    Ok(changes)
}

fn config_map_key(namespace: &str, name: &str) -> String {
    format!("/registry/configmaps/{namespace}/{name}")
}

async fn publish_once(client: &Client, authorities: CertificateAuthorities<'_>) -> Result<(), Error> {
    tokio::try_join!(
        put_root_cas(client, authorities),
        put(client, cluster_info(authorities)),
        replace_authentication(client, authorities),
        tokens::renew(client, authorities.signer, authorities.cluster),
    )?;
    Ok(())
}

async fn put_root_cas(client: &Client, authorities: CertificateAuthorities<'_>) -> Result<(), Error> {
    if !authorities.root_ca_maps {
        return Ok(());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let (every, named) = (ListParams::default(), format!("metadata.name={ROOT_CA}"));
    let named = ListParams::default().fields(&named);
    let (namespaces, maps) = tokio::join!(namespaces.list_metadata(&every), maps.list(&named));
    let namespaces = namespaces.map_err(request_failed("list namespaces"))?;
    let maps = maps.map_err(request_failed("list config maps"))?;
    let current: Vec<String> = maps
        .iter()
        .filter(|map| map.data == root_ca("", authorities).data)
        .filter_map(ResourceExt::namespace)
        .collect();
    let active = namespaces
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
        .map(ResourceExt::name_any);
    let missing = active.filter(|namespace| !current.contains(namespace));
    try_join_all(missing.map(|namespace| put_root_ca(client, namespace, authorities))).await?;
    Ok(())
}

/// A rejection in a user's namespace is not an error. No pod of the namespace can start before the config map exists, and none
/// can start with the old authority.
async fn put_root_ca(
    client: &Client,
    namespace: String,
    authorities: CertificateAuthorities<'_>,
) -> Result<(), Error> {
    match write(client, &root_ca(&namespace, authorities)).await {
        Err(error) if is_admission_rejection(&error) && !namespace.starts_with(SYSTEM_PREFIX) => {
            let answer = explain(&error);
            tracing::warn!(
                "admission control rejects the config map `{namespace}/{ROOT_CA}` ({answer}); the controller manager \
                 creates it as soon as it is accepted, and pods of the namespace start only then"
            );
            Ok(())
        }
        written => written.map_err(|error| write_failed(&namespace, ROOT_CA, error)),
    }
}

/// Creates or replaces a config map that differs.
async fn put(client: &Client, map: ConfigMap) -> Result<(), Error> {
    let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
    let failed = |error| write_failed(&namespace, &name, error);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let current = api.get_opt(&name).await.map_err(failed)?;
    if current.is_some_and(|current| current.data == map.data) {
        return Ok(());
    }
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
    let failed = |error| write_failed(SYSTEM_NAMESPACE, AUTHENTICATION, error);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let wanted = BTreeMap::from(authentication_data(authorities));
    let current = api.get_opt(AUTHENTICATION).await.map_err(failed)?;
    // Where it is missing, the API server creates it without old authorities.
    let data = current.map(|current| current.data.unwrap_or_default());
    let differs = |(key, value): (&&str, &&str)| {
        data.as_ref()
            .is_some_and(|data| data.get(*key).map(String::as_str) != Some(*value))
    };
    if !wanted.iter().any(differs) {
        return Ok(());
    }
    let patch = Patch::Merge(json!({ "data": wanted }));
    let patched = api.patch(AUTHENTICATION, &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(failed)
}

fn authentication_data(authorities: CertificateAuthorities<'_>) -> [(&str, &str); 2] {
    [
        ("client-ca-file", authorities.cluster),
        ("requestheader-client-ca-file", authorities.front_proxy),
    ]
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
