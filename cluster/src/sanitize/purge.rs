//! Removing from a cluster's database what must not, or need not, be frozen.

use std::fmt::Debug;

use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ca_publish::ROOT_CA;
use super::tokens;
use crate::api::objects::{CLUSTER_INFO, SYSTEM_NAMESPACE};
use crate::api::response::{ignore_not_found, request_failed};
use crate::error::Error;

/// The secret to which kubeadm uploads the keys of the certificate authorities for other control planes.
const UPLOADED_KEYS: &str = "kubeadm-certs";
const BOOTSTRAP_TOKENS: &str = "type=bootstrap.kubernetes.io/token";
/// The annotation of `Endpoints` that elected leaders before there were leases (until 1.20).
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Deletes what belongs to the running cluster only:
///
/// - credentials: bootstrap tokens, uploaded keys, service-account tokens in secrets (see [`tokens`]), certificate signing
///   requests;
/// - the certificate authority in `kube-root-ca.crt` and `cluster-info`, so that no pod of a thawed cluster can start with
///   the old one;
/// - the leases of leaders in `kube-system`, which would delay new leaders by their duration, and the holders in annotations of
///   leaders elsewhere (a thaw releases leases in all namespaces);
/// - all events.
///
/// The controller manager must be stopped before, or it recreates half of it. Deleted values stay in the database's file
/// until it is compacted and defragmented. Namespaces that are being deleted, and unavailable aggregated APIs, do not
/// matter.
///
/// # Errors
/// The first request that failed. Calling it again continues.
pub async fn purge_database(client: &Client) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = namespaces.list_metadata(&ListParams::default()).await;
    let namespaces: Vec<String> = namespaces
        .map_err(request_failed("list namespaces"))?
        .items
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let system_secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    tokio::try_join!(
        try_join_all(
            namespaces
                .iter()
                .map(|namespace| purge_namespace(client, namespace))
        ),
        delete(
            Api::<ConfigMap>::namespaced(client.clone(), CLUSTER_INFO.0),
            CLUSTER_INFO.1
        ),
        delete(system_secrets.clone(), UPLOADED_KEYS),
        delete_all(
            system_secrets.clone(),
            ListParams::default().fields(BOOTSTRAP_TOKENS),
            "bootstrap tokens",
        ),
        delete_all(
            Api::<Lease>::namespaced(client.clone(), SYSTEM_NAMESPACE),
            ListParams::default(),
            "leases of leaders",
        ),
        delete_leader_endpoints(client),
        release_annotations::<ConfigMap>(client),
        release_annotations::<Endpoints>(client),
        delete_signing_requests(client, "v1"),
        delete_signing_requests(client, "v1beta1"),
        tokens::strip_tokens(client),
    )?;
    Ok(())
}

/// Counts the secrets of manifests and users: all except service-account tokens, which [`purge_database`] removes.
///
/// # Errors
/// The request failed.
pub async fn count_secrets(client: &Client) -> Result<u64, Error> {
    let all: Api<Secret> = Api::all(client.clone());
    let others =
        ListParams::default().fields(&format!("type!={},type!={}", tokens::TYPE, tokens::STRIPPED_TYPE));
    let found = all
        .list_metadata(&others)
        .await
        .map_err(request_failed("count secrets"))?;
    Ok(found.items.len() as u64)
}

async fn purge_namespace(client: &Client, namespace: &str) -> Result<(), Error> {
    delete(Api::<ConfigMap>::namespaced(client.clone(), namespace), ROOT_CA).await?;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    delete_all(events, ListParams::default(), "events").await
}

async fn delete_leader_endpoints(client: &Client) -> Result<(), Error> {
    let api: Api<Endpoints> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let all = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(request_failed("list endpoints"))?;
    let leaders = all
        .items
        .iter()
        .filter(|endpoints| endpoints.annotations().contains_key(LEADER));
    try_join_all(leaders.map(|endpoints| delete(api.clone(), endpoints.name_any()))).await?;
    Ok(())
}

/// Releases the locks of leaders that are annotations of config maps or endpoints, outside of `kube-system`.
async fn release_annotations<K>(client: &Client) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let all: Api<K> = Api::all(client.clone());
    let kind = K::kind(&());
    let listed = all.list_metadata(&ListParams::default()).await;
    let listed = listed.map_err(request_failed(format!("list all objects of kind `{kind}`")))?;
    let locks = listed.items.iter().filter_map(|object| {
        let released = released(object.annotations().get(LEADER)?)?;
        let namespace = object.namespace()?;
        (namespace != SYSTEM_NAMESPACE).then(|| (namespace, object.name_any(), released))
    });
    try_join_all(locks.map(|(namespace, name, released)| async move {
        let api: Api<K> = Api::namespaced(client.clone(), &namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { LEADER: released } } }));
        let patched = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
        ignore_not_found(patched).map_err(request_failed(format!("release the lock `{namespace}/{name}`")))
    }))
    .await?;
    Ok(())
}

/// The record of a lock without its holder; `None` if it has none.
fn released(record: &str) -> Option<String> {
    let mut record: Value = serde_json::from_str(record).ok()?;
    let holder = record.get_mut("holderIdentity")?;
    if holder == "" {
        return None;
    }
    *holder = json!("");
    Some(record.to_string())
}

/// Deletes the requests through one version of their API; older and newer API servers have only one of them.
async fn delete_signing_requests(client: &Client, version: &str) -> Result<(), Error> {
    let kind = GroupVersionKind::gvk("certificates.k8s.io", version, "CertificateSigningRequest");
    let resource = ApiResource::from_gvk_with_plural(&kind, "certificatesigningrequests");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    delete_all(api, ListParams::default(), "certificate signing requests").await
}

async fn delete<K>(api: Api<K>, name: impl AsRef<str>) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let name = name.as_ref();
    let deleted = api.delete(name, &DeleteParams::default()).await;
    ignore_not_found(deleted).map_err(request_failed(format!("delete `{name}`")))
}

async fn delete_all<K>(api: Api<K>, which: ListParams, what: &str) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let deleted = api.delete_collection(&DeleteParams::default(), &which).await;
    ignore_not_found(deleted).map_err(request_failed(format!("delete {what}")))
}

#[cfg(test)]
mod tests {
    use super::released;

    #[test]
    fn only_held_locks_are_released() {
        let held = r#"{"holderIdentity":"manager-x_1","leaseDurationSeconds":15,"leaderTransitions":3}"#;
        let record = released(held).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["holderIdentity"], "");
        assert_eq!(record["leaderTransitions"], 3);
        for other in [record.to_string().as_str(), "no JSON", "{}"] {
            assert_eq!(released(other), None);
        }
    }
}
