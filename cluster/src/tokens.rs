//! Tokens of service accounts that are kept in secrets.
//!
//! Until 1.20 pods have no others: every service account has such a secret, and pods mount it by its name. A pod that
//! starts before its token is there ends at once, or goes on without one. So in an artifact these secrets are not without
//! their tokens but put away, and no pod that mounts one starts before the thaw has made it again, with a token that it
//! signs itself:
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

use crate::api_error::{ApiError, absent_is_fine, is_absent, is_conflict};

/// The type of such secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// The name and the type of a secret with those that were put away, and its key.
const AWAY: &str = "parbake-tokens";
pub(crate) const AWAY_TYPE: &str = "parbake.dev/tokens";
const LIST: &str = "secrets.json";
/// What is made anew in each: the token, and whom to trust.
const TOKEN: &str = "token";
const AUTHORITY: &str = "ca.crt";
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

/// Puts every secret that holds a service account's token away, without it.
pub(crate) async fn strip_tokens(client: &Client) -> Result<(), ApiError> {
    let mut namespaces: BTreeMap<String, Vec<Secret>> = BTreeMap::new();
    for secret in list(client, TYPE).await? {
        namespaces
            .entry(secret.namespace().unwrap_or_default())
            .or_default()
            .push(secret);
    }
    let all = namespaces.into_iter().map(|(namespace, secrets)| async move {
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let failed = || ApiError::new(format!("put the tokens of `{namespace}` away"));
        // Whoever was killed on the way has put some of them there.
        let before = match api.get_opt(AWAY).await.map_err(failed())? {
            Some(before) => read(&before),
            None => Vec::new(),
        };
        let away = away(&namespace, before, &secrets);
        match api.create(&PostParams::default(), &away).await {
            Err(error) if is_conflict(&error) => api.replace(AWAY, &PostParams::default(), &away).await,
            created => created,
        }
        .map_err(failed())?;
        try_join_all(secrets.iter().map(|secret| delete(&api, secret.name_any()))).await
    });
    try_join_all(all).await?;
    Ok(())
}

/// Makes the secrets that were put away again, with tokens that `signer` signs, and the certificate authority, as PEM;
/// the same in those that are of another authority. May be called again: what was signed once stays.
///
/// The controller manager's token controller fills in what is missing, with the key that it has then.
pub(crate) async fn renew(client: &Client, signer: &dyn Signer, authority: &str) -> Result<(), ApiError> {
    let away = list(client, AWAY_TYPE).await?;
    try_join_all(
        away.iter()
            .map(|away| bring_back(client, away, signer, authority)),
    )
    .await?;
    let all = list(client, TYPE).await?;
    let others = all.iter().filter(|secret| !is_of(secret, authority));
    try_join_all(others.map(|secret| async move {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let data = renewed(&secret.metadata, signer, authority);
        // `null` takes out what there is.
        let data: BTreeMap<_, _> = [TOKEN, AUTHORITY].map(|key| (key, data.get(key))).into();
        let patch = Patch::Merge(json!({ "data": data }));
        let patched = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
        absent_is_fine(patched).map_err(ApiError::new(format!("write the token in `{namespace}/{name}`")))
    }))
    .await?;
    Ok(())
}

async fn bring_back(
    client: &Client,
    away: &Secret,
    signer: &dyn Signer,
    authority: &str,
) -> Result<(), ApiError> {
    let namespace = away.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    try_join_all(read(away).into_iter().map(|mut secret| {
        secret.metadata.namespace = Some(namespace.clone());
        secret
            .data
            .get_or_insert_default()
            .extend(renewed(&secret.metadata, signer, authority));
        let api = api.clone();
        async move {
            match api.create(&PostParams::default(), &secret).await {
                // It was made before a request after it failed, or its namespace goes away.
                Err(error) if is_conflict(&error) || is_absent(&error) => Ok(()),
                Err(error) => Err(ApiError::new(format!("make the token `{}`", secret.name_any()))(
                    error,
                )),
                Ok(_) => Ok(()),
            }
        }
    }))
    .await?;
    delete(&api, AWAY.to_owned()).await
}

/// All secrets of a type.
async fn list(client: &Client, of_type: &str) -> Result<Vec<Secret>, ApiError> {
    let all: Api<Secret> = Api::all(client.clone());
    let found = all
        .list(&ListParams::default().fields(&format!("type={of_type}")))
        .await;
    Ok(found.map_err(ApiError::new("list service-account tokens"))?.items)
}

async fn delete(api: &Api<Secret>, name: String) -> Result<(), ApiError> {
    let deleted = api.delete(&name, &DeleteParams::default()).await;
    absent_is_fine(deleted).map_err(ApiError::new(format!("delete the secret `{name}`")))
}

/// The secret that holds those that were put away `before`, and `secrets`.
fn away(namespace: &str, before: Vec<Secret>, secrets: &[Secret]) -> Secret {
    let mut all: BTreeMap<String, Secret> = before
        .into_iter()
        .map(|secret| (secret.name_any(), secret))
        .collect();
    all.extend(secrets.iter().map(|secret| (secret.name_any(), bare(secret))));
    let list: Vec<Secret> = all.into_values().collect();
    let text = serde_json::to_vec(&list).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(AWAY.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(AWAY_TYPE.to_owned()),
        data: Some([(LIST.to_owned(), ByteString(text))].into()),
        ..Secret::default()
    }
}

/// What somebody has put into a secret, without what the controller manager and the API server have.
fn bare(secret: &Secret) -> Secret {
    let ObjectMeta {
        name,
        labels,
        annotations,
        owner_references,
        finalizers,
        ..
    } = secret.metadata.clone();
    let mut data = secret.data.clone().unwrap_or_default();
    data.retain(|key, _| key != TOKEN && key != AUTHORITY);
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

/// The secrets that were put away. Nobody else writes there; who does all the same loses them.
fn read(away: &Secret) -> Vec<Secret> {
    let list = away.data.as_ref().and_then(|data| data.get(LIST));
    list.and_then(|list| serde_json::from_slice(&list.0).ok())
        .unwrap_or_default()
}

/// Whether a secret has a token and names that authority.
fn is_of(secret: &Secret, authority: &str) -> bool {
    let has = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    has(TOKEN).is_some_and(|token| !token.0.is_empty())
        && has(AUTHORITY).is_some_and(|own| own.0 == authority.as_bytes())
}

/// What a thaw puts into a secret; nothing where it cannot tell whose it is.
fn renewed(secret: &ObjectMeta, signer: &dyn Signer, authority: &str) -> BTreeMap<String, ByteString> {
    let token = account(secret).and_then(|account| signer.token(account));
    let Some(token) = token else {
        return BTreeMap::new();
    };
    [(TOKEN, token.as_str()), (AUTHORITY, authority)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.into())))
        .into()
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

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use kube::ResourceExt;
    use serde_json::json;

    use super::{Account, Signer, away, is_of, read, renewed};

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
    fn a_token_is_its_accounts_own() {
        let data = |secret: &Secret| renewed(&secret.metadata, &Words, "PEM\n");
        let found = data(&secret("s", "a", Some("u")));
        assert_eq!(found["token"], ByteString("n/a/u/s".into()));
        assert_eq!(found["ca.crt"], ByteString("PEM\n".into()));
        for left in [
            secret("s", "a", None),
            secret("s", "unsigned", Some("u")),
            Secret::default(),
        ] {
            assert!(data(&left).is_empty());
        }
    }

    #[test]
    fn what_is_put_away_has_no_token_and_comes_back_whole() {
        let first = away("n", Vec::new(), &[secret("one", "a", Some("u"))]);
        let second = away("n", read(&first), &[secret("two", "b", Some("v"))]);
        let list = read(&second);
        let names: Vec<String> = list.iter().map(Secret::name_any).collect();
        assert_eq!(names, ["one", "two"]);
        for secret in list {
            let data = secret.data.unwrap();
            assert_eq!(data.keys().collect::<Vec<_>>(), ["mine", "namespace"]);
            assert_eq!(secret.metadata.labels.unwrap()["a"], "b");
            // What the API server would not take.
            assert_eq!(
                (secret.metadata.uid, secret.metadata.resource_version),
                (None, None)
            );
        }
        assert!(read(&Secret::default()).is_empty());
    }

    #[test]
    fn what_was_signed_once_stays() {
        let mut secret = secret("s", "a", Some("u"));
        assert!(is_of(&secret, "old") && !is_of(&secret, "new"));
        secret.data.as_mut().unwrap().remove("token");
        assert!(!is_of(&secret, "old"));
    }
}
