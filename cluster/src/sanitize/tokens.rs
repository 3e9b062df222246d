//! Service-account tokens in secrets.
//!
//! Until 1.20 every service account has such a secret, and pods mount it by name. A pod that starts before its token exists
//! fails at once, or runs without one. So a freeze does not remove only the tokens, but stores the secrets without them in
//! another secret: pods that mount one cannot start before the thaw has created it again, with a token that the thaw signs.
//!
//! ```text
//! Secret NAMESPACE/parbake-tokens, of the type parbake.dev/tokens
//! └── secrets.json      the secrets of NAMESPACE, as a list, without tokens and without the certificate authority
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::api::response::{
    ignore_not_found, is_conflict, is_namespace_terminating, is_not_found, request_failed,
};
use crate::error::Error;
use crate::etcd::stored_object::{StoredObject, new_object};
use crate::etcd::{Change, Etcd};

/// The type of secrets with service-account tokens.
pub(super) const TYPE: &str = "kubernetes.io/service-account-token";
/// The name, type and key of the secret with the stripped ones.
const STRIPPED: &str = "parbake-tokens";
pub(super) const STRIPPED_TYPE: &str = "parbake.dev/tokens";
const LIST: &str = "secrets.json";
/// Where the database has secrets: `NAMESPACE/NAME` below.
const SECRETS: &str = "/registry/secrets/";
/// The number of the field with a secret's type (`k8s.io/api/core/v1/generated.proto`).
const TYPE_FIELD: u64 = 3;
/// The keys that a freeze strips.
const TOKEN: &str = "token";
const CA: &str = "ca.crt";
/// The annotations with the service account's name and UID.
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// The service account of a token, and the secret that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    /// The namespace of both.
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub secret: &'a str,
}

/// Signs a cluster's service-account tokens.
pub trait Signer: Debug + Sync {
    /// A JSON Web Token for the account; `None` to leave it to the controller manager.
    fn token(&self, account: Account<'_>) -> Option<String>;
}

/// Replaces all secrets with service-account tokens by one stripped secret in each namespace.
pub(super) async fn strip_tokens(client: &Client) -> Result<(), Error> {
    let mut namespaces: BTreeMap<String, Vec<Secret>> = BTreeMap::new();
    for secret in list(client, TYPE).await? {
        namespaces
            .entry(secret.namespace().unwrap_or_default())
            .or_default()
            .push(secret);
    }
    let all = namespaces.into_iter().map(|(namespace, secrets)| async move {
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let failed = || request_failed(format!("store the secrets of service accounts in `{namespace}`"));
        // An earlier call that was interrupted has stored some of them.
        let before = match api.get_opt(STRIPPED).await.map_err(failed())? {
            Some(before) => read_stripped(&before),
            None => Vec::new(),
        };
        let stripped = stripped(&namespace, before, &secrets);
        let stored = match api.create(&PostParams::default(), &stripped).await {
            Err(error) if is_conflict(&error) => {
                api.replace(STRIPPED, &PostParams::default(), &stripped).await
            }
            created => created,
        };
        match stored {
            // Its service accounts are being deleted, too.
            Err(error) if is_namespace_terminating(&error) => {}
            stored => drop(stored.map_err(failed())?),
        }
        try_join_all(secrets.iter().map(|secret| delete(&api, secret.name_any()))).await
    });
    try_join_all(all).await?;
    Ok(())
}

/// Restores the stripped secrets with tokens from `signer` and the certificate authority `ca` (PEM), and replaces both in
/// secrets with another authority. May be called again: tokens of this authority are kept.
///
/// The controller manager's token controller adds what is missing, with its own current key.
pub(super) async fn renew(client: &Client, signer: &dyn Signer, ca: &str) -> Result<(), Error> {
    let stripped = list(client, STRIPPED_TYPE).await?;
    try_join_all(stripped.iter().map(|secret| restore(client, secret, signer, ca))).await?;
    let all = list(client, TYPE).await?;
    let others = all.iter().filter(|secret| !has_ca(secret, ca));
    try_join_all(others.map(|secret| async move {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let data = renewed(&secret.metadata, signer, ca);
        // `null` removes a key.
        let data: BTreeMap<_, _> = [TOKEN, CA].map(|key| (key, data.get(key))).into();
        let patch = Patch::Merge(json!({ "data": data }));
        let patched = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
        ignore_not_found(patched).map_err(request_failed(format!("write the token in `{namespace}/{name}`")))
    }))
    .await?;
    Ok(())
}

/// The changes to the database that restore the stripped secrets of `namespaces`, as [`renew`] does through the API.
pub(super) async fn database_changes(
    etcd: &Etcd,
    namespaces: &[String],
    signer: &dyn Signer,
    ca: &str,
) -> Result<Vec<Change>, Error> {
    let stripped: Vec<String> = namespaces
        .iter()
        .map(|namespace| format!("{SECRETS}{namespace}/{STRIPPED}"))
        .collect();
    let mut changes = Vec::new();
    for entry in etcd.get(&stripped).await? {
        let Some(list) = StoredObject::decode(&entry.value).and_then(|object| stripped_list(&object)) else {
            continue;
        };
        let prefix = entry.key.trim_end_matches(STRIPPED);
        let namespace = prefix.trim_start_matches(SECRETS).trim_end_matches('/');
        let keys: Vec<String> = list
            .iter()
            .map(|secret| format!("{prefix}{}", secret.name_any()))
            .collect();
        let existing: Vec<String> = etcd
            .get(&keys)
            .await?
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        for (key, mut secret) in keys.into_iter().zip(list) {
            secret.metadata.namespace = Some(namespace.to_owned());
            let data = renewed(&secret.metadata, signer, ca);
            secret.data.get_or_insert_default().extend(data);
            if !existing.contains(&key) {
                changes.push(new_object(key, &mut secret));
            }
        }
        changes.push(Change::delete(&entry));
    }
    Ok(changes)
}

/// The secrets in a stored secret of the type [`STRIPPED_TYPE`].
fn stripped_list(object: &StoredObject) -> Option<Vec<Secret>> {
    if object.get(TYPE_FIELD)? != STRIPPED_TYPE.as_bytes() {
        return None;
    }
    serde_json::from_slice(object.data().get(LIST)?).ok()
}

async fn restore(client: &Client, stripped: &Secret, signer: &dyn Signer, ca: &str) -> Result<(), Error> {
    let namespace = stripped.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    try_join_all(read_stripped(stripped).into_iter().map(|mut secret| {
        secret.metadata.namespace = Some(namespace.clone());
        secret
            .data
            .get_or_insert_default()
            .extend(renewed(&secret.metadata, signer, ca));
        let api = api.clone();
        async move {
            match api.create(&PostParams::default(), &secret).await {
                Ok(_) => Ok(()),
                // An earlier call has created it, or its namespace is being deleted.
                Err(error)
                    if is_conflict(&error) || is_not_found(&error) || is_namespace_terminating(&error) =>
                {
                    Ok(())
                }
                Err(error) => {
                    let failed = request_failed(format!("create the token `{}`", secret.name_any()));
                    Err(failed(error))
                }
            }
        }
    }))
    .await?;
    delete(&api, STRIPPED.to_owned()).await
}

async fn list(client: &Client, secret_type: &str) -> Result<Vec<Secret>, Error> {
    let all: Api<Secret> = Api::all(client.clone());
    let found = all
        .list(&ListParams::default().fields(&format!("type={secret_type}")))
        .await;
    Ok(found
        .map_err(request_failed("list service-account tokens"))?
        .items)
}

async fn delete(api: &Api<Secret>, name: String) -> Result<(), Error> {
    let deleted = api.delete(&name, &DeleteParams::default()).await;
    ignore_not_found(deleted).map_err(request_failed(format!("delete the secret `{name}`")))
}

/// The secret that stores `secrets`, and those that were stored `before`.
fn stripped(namespace: &str, before: Vec<Secret>, secrets: &[Secret]) -> Secret {
    let mut all: BTreeMap<String, Secret> = before
        .into_iter()
        .map(|secret| (secret.name_any(), secret))
        .collect();
    all.extend(
        secrets
            .iter()
            .map(|secret| (secret.name_any(), without_token(secret))),
    );
    let list: Vec<Secret> = all.into_values().collect();
    let text = serde_json::to_vec(&list).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(STRIPPED.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(STRIPPED_TYPE.to_owned()),
        data: Some([(LIST.to_owned(), ByteString(text))].into()),
        ..Secret::default()
    }
}

/// The secret without its token and certificate authority, and without metadata that the API server sets.
fn without_token(secret: &Secret) -> Secret {
    let ObjectMeta {
        name,
        labels,
        annotations,
        owner_references,
        finalizers,
        ..
    } = secret.metadata.clone();
    let mut data = secret.data.clone().unwrap_or_default();
    data.retain(|key, _| key != TOKEN && key != CA);
    Secret {
        metadata: ObjectMeta {
            name,
            labels,
            annotations,
            owner_references,
            finalizers,
            ..ObjectMeta::default()
        },
        type_: secret.type_.clone(),
        data: Some(data),
        ..Secret::default()
    }
}

/// The stored secrets. If a user has overwritten the list, they are lost.
fn read_stripped(stripped: &Secret) -> Vec<Secret> {
    let list = stripped.data.as_ref().and_then(|data| data.get(LIST));
    list.and_then(|list| serde_json::from_slice(&list.0).ok())
        .unwrap_or_default()
}

/// True if a secret has a token, and the certificate authority `ca`.
fn has_ca(secret: &Secret, ca: &str) -> bool {
    let value = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    value(TOKEN).is_some_and(|token| !token.0.is_empty())
        && value(CA).is_some_and(|own| own.0 == ca.as_bytes())
}

/// The token and certificate authority of a secret; empty if its account is unknown.
fn renewed(secret: &ObjectMeta, signer: &dyn Signer, ca: &str) -> BTreeMap<String, ByteString> {
    let Some(token) = account(secret).and_then(|account| signer.token(account)) else {
        return BTreeMap::new();
    };
    [(TOKEN, token.as_str()), (CA, ca)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.into())))
        .into()
}

/// The account of a secret; `None` if the controller manager has not set its UID yet.
fn account(secret: &ObjectMeta) -> Option<Account<'_>> {
    let annotations = secret.annotations.as_ref()?;
    Some(Account {
        namespace: secret.namespace.as_deref()?,
        name: annotations.get(NAME)?,
        uid: annotations.get(UID)?,
        secret: secret.name.as_deref()?,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use kube::ResourceExt;
    use serde_json::json;

    use super::{Account, Signer, has_ca, read_stripped, renewed, stripped};

    #[derive(Debug)]
    struct TestSigner;

    impl Signer for TestSigner {
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

    fn secret(name: &str, account: &str, uid: Option<&str>) -> Secret {
        let mut annotations = json!({"kubernetes.io/service-account.name": account});
        if let Some(uid) = uid {
            annotations["kubernetes.io/service-account.uid"] = json!(uid);
        }
        // base64 of `old`.
        let secret = json!({
            "metadata": {
                "name": name, "namespace": "n", "uid": "x", "resourceVersion": "7", "labels": {"a": "b"},
                "annotations": annotations,
            },
            "type": "kubernetes.io/service-account-token",
            "data": {"token": "b2xk", "ca.crt": "b2xk", "namespace": "b2xk", "mine": "b2xk"},
        });
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn tokens_are_signed_for_their_account() {
        let data = |secret: &Secret| renewed(&secret.metadata, &TestSigner, "PEM\n");
        let found = data(&secret("s", "a", Some("u")));
        assert_eq!(found["token"], ByteString("n/a/u/s".into()));
        assert_eq!(found["ca.crt"], ByteString("PEM\n".into()));
        for unsigned in [
            secret("s", "a", None),
            secret("s", "unsigned", Some("u")),
            Secret::default(),
        ] {
            assert!(data(&unsigned).is_empty());
        }
    }

    #[test]
    fn stripped_secrets_have_no_token_and_are_otherwise_complete() {
        let first = stripped("n", Vec::new(), &[secret("one", "a", Some("u"))]);
        let second = stripped("n", read_stripped(&first), &[secret("two", "b", Some("v"))]);
        let list = read_stripped(&second);
        let names: Vec<String> = list.iter().map(Secret::name_any).collect();
        assert_eq!(names, ["one", "two"]);
        for secret in list {
            let data = secret.data.unwrap();
            assert_eq!(data.keys().collect::<Vec<_>>(), ["mine", "namespace"]);
            assert_eq!(secret.metadata.labels.unwrap()["a"], "b");
            // The API server would reject them.
            assert_eq!(
                (secret.metadata.uid, secret.metadata.resource_version),
                (None, None)
            );
        }
        assert!(read_stripped(&Secret::default()).is_empty());
    }

    #[test]
    fn secret_with_a_token_of_the_same_ca_is_kept() {
        let mut secret = secret("s", "a", Some("u"));
        assert!(has_ca(&secret, "old") && !has_ca(&secret, "new"));
        secret.data.as_mut().unwrap().remove("token");
        assert!(!has_ca(&secret, "old"));
    }
}
