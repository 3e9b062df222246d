//! Namespaces that a stricter pod security must leave alone.
//!
//! Kubernetes documentation, 'Enforce Pod Security Standards with Namespace Labels'.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::api_error::ApiError;
use crate::wait::{Poll, TimedOut, Wait};

/// What a namespace's own labels begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";
/// What there is a label for.
const MODES: [&str; 3] = ["enforce", "audit", "warn"];
/// The namespace that everybody uses, so that it gets what was asked for.
const EVERYBODYS: &str = "default";

/// Namespaces that could not be labelled.
#[derive(Debug, Error)]
#[error("could not exempt the namespaces that were baked from pod security")]
pub struct ExemptError(#[source] TimedOut);

/// Labels the namespaces that are older than `before`, or all there are, so that what was baked there goes on: what they
/// say of pod security themselves stays, and so does `default`. May be called before the API answers.
///
/// # Errors
/// When it is not done within `limit`; the source says which request failed last.
pub async fn exempt(client: &Client, before: Option<Timestamp>, limit: Duration) -> Result<(), ExemptError> {
    Wait::new("the API to take labels of namespaces", limit)
        .until(|| async {
            match exempt_once(client, before).await {
                Ok(()) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.line()),
            }
        })
        .await
        .map_err(ExemptError)
}

async fn exempt_once(client: &Client, before: Option<Timestamp>) -> Result<(), ApiError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = namespaces.list(&ListParams::default()).await;
    for namespace in all.map_err(ApiError::new("list the namespaces"))? {
        let name = namespace.name_any();
        if let Some(change) = change(&namespace, before) {
            namespaces
                .patch(&name, &PatchParams::default(), &Patch::Merge(&change))
                .await
                .map_err(ApiError::new(format!("label the namespace `{name}`")))?;
        }
    }
    Ok(())
}

/// The merge patch (RFC 7386) that exempts a namespace; nothing where it is to be as it is.
fn change(namespace: &Namespace, before: Option<Timestamp>) -> Option<Value> {
    let meta = &namespace.metadata;
    let created = meta.creation_timestamp.as_ref();
    let baked = before.is_none_or(|before| created.is_some_and(|created| created.0 < before));
    if !baked || meta.name.as_deref() == Some(EVERYBODYS) {
        return None;
    }
    let has = |label: &String| {
        meta.labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(label))
    };
    let labels: Map<String, Value> = MODES
        .iter()
        .map(|mode| format!("{PREFIX}{mode}"))
        .filter(|label| !has(label))
        .map(|label| (label, json!("privileged")))
        .collect();
    (!labels.is_empty()).then(|| json!({ "metadata": { "labels": labels } }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::{Value, json};

    use super::change;

    #[test]
    fn what_was_baked_goes_on() {
        let labels = |modes: &[&str]| {
            let labels = modes
                .iter()
                .map(|mode| (format!("pod-security.kubernetes.io/{mode}"), json!("privileged")));
            json!({ "metadata": { "labels": labels.collect::<serde_json::Map<_, _>>() } })
        };
        let start = Some("2026-03-01T10:00:00Z".parse().unwrap());
        let cases: [(Value, _, _); 5] = [
            (
                json!({ "name": "old" }),
                start,
                Some(labels(&["enforce", "audit", "warn"])),
            ),
            (json!({ "name": "default" }), start, None),
            (
                json!({ "name": "own", "labels": { "pod-security.kubernetes.io/enforce": "baseline" } }),
                start,
                Some(labels(&["audit", "warn"])),
            ),
            (
                json!({ "name": "new", "creationTimestamp": "2026-03-01T10:00:01Z" }),
                start,
                None,
            ),
            (
                json!({ "name": "new", "creationTimestamp": "2026-03-01T10:00:01Z" }),
                None,
                Some(labels(&["enforce", "audit", "warn"])),
            ),
        ];
        for (mut meta, before, expected) in cases {
            if meta.get("creationTimestamp").is_none() {
                meta["creationTimestamp"] = json!("2026-03-01T09:00:00Z");
            }
            let namespace: Namespace = serde_json::from_value(json!({ "metadata": meta })).unwrap();
            assert_eq!(change(&namespace, before), expected, "{meta}");
        }
    }
}
