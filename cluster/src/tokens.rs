//! Tokens of service accounts that are kept in secrets.
//!
//! Until 1.20 pods have no others: every service account has such a secret, and pods mount it by its name. The secrets
//! stay in the artifact, for their names, without the token and the authority. A thaw must fill them in before the first pod
//! starts, so it signs the tokens itself instead of waiting for the controller manager.

use std::fmt::Debug;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api_error::{ApiError, absent_is_fine};

/// The type of such secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotations that say whose token it is.
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Whose token is kept in which secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    /// The namespace of both.
    pub namespace: &'a str,
    /// The service account.
    pub name: &'a str,
    /// Its unique id.
    pub uid: &'a str,
    /// The secret.
    pub secret: &'a str,
}

/// Who signs tokens for a cluster.
pub trait Signer: Debug + Sync {
    /// A token of the account, as a JSON Web Token; nothing where it cannot be signed, and the controller manager is to.
    fn token(&self, account: Account<'_>) -> Option<String>;
}

/// Takes the token and the certificate authority out of every secret that holds a service account's token.
///
/// The secrets keep their names, because pods mount them by name.
pub(crate) async fn blank(client: &Client) -> Result<(), ApiError> {
    put_all(client, |_| nothing()).await
}

/// Puts new tokens, signed by `signer`, and the certificate authority, as PEM, into these secrets.
///
/// The controller manager's token controller fills in what is missing, with the key that it has then.
pub(crate) async fn renew(client: &Client, signer: &dyn Signer, authority: &str) -> Result<(), ApiError> {
    put_all(client, |secret| renewed(secret, signer, authority)).await
}

fn nothing() -> Value {
    json!({"token": null, "ca.crt": null})
}

fn renewed(secret: &ObjectMeta, signer: &dyn Signer, authority: &str) -> Value {
    let Some(token) = account(secret).and_then(|account| signer.token(account)) else {
        return nothing();
    };
    json!({"token": STANDARD.encode(token), "ca.crt": STANDARD.encode(authority)})
}

/// Whose token it is; nothing where that was never filled in.
fn account(secret: &ObjectMeta) -> Option<Account<'_>> {
    let annotations = secret.annotations.as_ref()?;
    Some(Account {
        namespace: secret.namespace.as_deref()?,
        name: annotations.get(NAME)?,
        uid: annotations.get(UID)?,
        secret: secret.name.as_deref()?,
    })
}

async fn put_all(client: &Client, data: impl Fn(&ObjectMeta) -> Value) -> Result<(), ApiError> {
    let all: Api<Secret> = Api::all(client.clone());
    let secrets = all
        .list_metadata(&ListParams::default().fields(&format!("type={TYPE}")))
        .await;
    let secrets = secrets.map_err(ApiError::new("list service-account tokens"))?;
    try_join_all(secrets.items.iter().map(|secret| {
        let patch = Patch::Merge(json!({"data": data(&secret.metadata)}));
        async move {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            let patched = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
            absent_is_fine(patched)
                .map_err(ApiError::new(format!("write the token in `{namespace}/{name}`")))
        }
    }))
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;
    use serde_json::json;

    use super::{Account, Signer, nothing, renewed};

    #[derive(Debug)]
    struct Words;

    impl Signer for Words {
        fn token(&self, account: Account<'_>) -> Option<String> {
            let Account {
                namespace,
                name,
                uid,
                secret,
            } = account;
            (name != "unsigned").then(|| format!("{namespace}/{name}/{uid}/{secret}"))
        }
    }

    #[test]
    fn a_token_is_its_accounts_own() {
        let secret = |name: &str, uid: Option<&str>| -> ObjectMeta {
            let mut annotations = json!({"kubernetes.io/service-account.name": name});
            if let Some(uid) = uid {
                annotations["kubernetes.io/service-account.uid"] = json!(uid);
            }
            let secret = json!({"name": "s", "namespace": "n", "annotations": annotations});
            serde_json::from_value(secret).unwrap()
        };
        let data = |secret: &ObjectMeta| renewed(secret, &Words, "PEM\n");
        // base64 of `n/a/u/s` and `PEM`.
        let expected = json!({"token": "bi9hL3Uvcw==", "ca.crt": "UEVNCg=="});
        assert_eq!(data(&secret("a", Some("u"))), expected);
        for left in [
            secret("a", None),
            secret("unsigned", Some("u")),
            ObjectMeta::default(),
        ] {
            assert_eq!(data(&left), nothing());
        }
    }
}
