//! Making a cluster's database forget what must not, or need not, leave a bake.

use std::fmt::Debug;

use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api_error::{ApiError, absent_is_fine};
use crate::ca_publish::{CLUSTER_INFO, ROOT_CA};
use crate::tokens;

const SYSTEM: &str = "kube-system";
/// Where kubeadm uploads the keys of the certificate authorities for other control planes to fetch.
const UPLOADED_KEYS: &str = "kubeadm-certs";
const BOOTSTRAP_TOKENS: &str = "type=bootstrap.kubernetes.io/token";
/// How leaders were elected before there were leases (until 1.20): in an annotation of an `Endpoints`.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Deletes what belongs to the bake alone:
///
/// - credentials: bootstrap tokens, uploaded keys, service-account tokens in secrets (put away without them, see
///   [`tokens`]), certificate signing requests;
/// - the old certificate authority in `kube-root-ca.crt` and `cluster-info`, so that no pod of a thawed
///   cluster can start with the wrong one;
/// - leases of leaders in `kube-system`, which would hold new leaders back for their full length;
/// - all events.
///
/// The controller manager must be stopped first, or it makes half of it anew at once. What was deleted stays
/// in the database's file until that is compacted and defragmented.
///
/// # Errors
/// The first request that failed. Calling it again goes on from there.
pub async fn forget(client: &Client) -> Result<(), ApiError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespaces = namespaces.list_metadata(&ListParams::default()).await;
    let namespaces: Vec<String> = namespaces
        .map_err(ApiError::new("list namespaces"))?
        .items
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    tokio::try_join!(
        try_join_all(namespaces.iter().map(|namespace| forget_in(client, namespace))),
        delete(
            Api::<ConfigMap>::namespaced(client.clone(), CLUSTER_INFO.0),
            CLUSTER_INFO.1
        ),
        delete(Api::<Secret>::namespaced(client.clone(), SYSTEM), UPLOADED_KEYS),
        delete_all(
            Api::<Secret>::namespaced(client.clone(), SYSTEM),
            ListParams::default().fields(BOOTSTRAP_TOKENS),
            "bootstrap tokens",
        ),
        delete_all(
            Api::<Lease>::namespaced(client.clone(), SYSTEM),
            ListParams::default(),
            "leases of leaders",
        ),
        delete_leader_endpoints(client),
        delete_signing_requests(client, "v1"),
        delete_signing_requests(client, "v1beta1"),
        tokens::strip_tokens(client),
    )?;
    Ok(())
}

/// Counts the secrets that manifests or users made: all but those of service accounts' tokens, which [`forget`] puts away.
///
/// # Errors
/// The API refused.
pub async fn count_secrets(client: &Client) -> Result<u64, ApiError> {
    let all: Api<Secret> = Api::all(client.clone());
    let others = ListParams::default().fields(&format!("type!={},type!={}", tokens::TYPE, tokens::AWAY_TYPE));
    let found = all
        .list_metadata(&others)
        .await
        .map_err(ApiError::new("count secrets"))?;
    Ok(found.items.len() as u64)
}

async fn forget_in(client: &Client, namespace: &str) -> Result<(), ApiError> {
    delete(Api::<ConfigMap>::namespaced(client.clone(), namespace), ROOT_CA).await?;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    delete_all(events, ListParams::default(), "events").await
}

async fn delete_leader_endpoints(client: &Client) -> Result<(), ApiError> {
    let api: Api<Endpoints> = Api::namespaced(client.clone(), SYSTEM);
    let all = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(ApiError::new("list endpoints"))?;
    let leaders = all
        .items
        .iter()
        .filter(|endpoints| endpoints.annotations().contains_key(LEADER));
    try_join_all(leaders.map(|endpoints| delete(api.clone(), endpoints.name_any()))).await?;
    Ok(())
}

/// Deletes the requests in one version of their API; the API server knows only the versions of its time.
async fn delete_signing_requests(client: &Client, version: &str) -> Result<(), ApiError> {
    let kind = GroupVersionKind::gvk("certificates.k8s.io", version, "CertificateSigningRequest");
    let resource = ApiResource::from_gvk_with_plural(&kind, "certificatesigningrequests");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    delete_all(api, ListParams::default(), "certificate signing requests").await
}

async fn delete<K>(api: Api<K>, name: impl AsRef<str>) -> Result<(), ApiError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let name = name.as_ref();
    let deleted = api.delete(name, &DeleteParams::default()).await;
    absent_is_fine(deleted).map_err(ApiError::new(format!("delete `{name}`")))
}

async fn delete_all<K>(api: Api<K>, which: ListParams, what: &str) -> Result<(), ApiError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let deleted = api.delete_collection(&DeleteParams::default(), &which).await;
    absent_is_fine(deleted).map_err(ApiError::new(format!("delete {what}")))
}
