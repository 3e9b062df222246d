//! Tokens of service accounts that are kept in secrets.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::api_error::{ApiError, absent_is_fine};

/// The type of such secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";

/// Takes the token and the certificate authority out of every secret that holds a service account's token.
///
/// The secrets keep their names, because pods mount them by name. The controller manager's token controller
/// fills in what is missing, signed with the key that it has then.
pub(crate) async fn blank(client: &Client) -> Result<(), ApiError> {
    let all: Api<Secret> = Api::all(client.clone());
    let secrets = all
        .list_metadata(&ListParams::default().fields(&format!("type={TYPE}")))
        .await;
    let secrets = secrets.map_err(ApiError::new("list service-account tokens"))?;
    try_join_all(secrets.items.iter().map(|secret| async move {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let nothing = Patch::Merge(json!({"data": {"token": null, "ca.crt": null}}));
        let patched = api.patch_metadata(&name, &PatchParams::default(), &nothing).await;
        absent_is_fine(patched).map_err(ApiError::new(format!("blank the token `{namespace}/{name}`")))
    }))
    .await?;
    Ok(())
}
