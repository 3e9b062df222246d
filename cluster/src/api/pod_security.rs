//! Exempting namespaces from pod security admission.
//!
//! Kubernetes documentation, 'Enforce Pod Security Standards with Namespace Labels'.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use super::response::request_failed;
use crate::error::Error;
use crate::wait::Wait;

const LABEL_PREFIX: &str = "pod-security.kubernetes.io/";
/// The modes, which have one label each.
const MODES: [&str; 3] = ["enforce", "audit", "warn"];
/// The namespace that is never exempt, because new workloads of users run there.
const ENFORCED: &str = "default";

/// Exempts the namespaces that are older than `before`, or all, so that baked pods continue to run. Labels that a namespace
/// has already, and the namespace `default`, stay unchanged. May be called before the API answers: retries until `limit`.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn exempt_namespaces(
    client: &Client,
    before: Option<Timestamp>,
    limit: Duration,
) -> Result<(), Error> {
    let wait = Wait::new("the API to accept the pod security labels of namespaces", limit);
    wait.until_ok(|| exempt_once(client, before)).await?;
    Ok(())
}

async fn exempt_once(client: &Client, before: Option<Timestamp>) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = namespaces.list(&ListParams::default()).await;
    for namespace in all.map_err(request_failed("list namespaces"))? {
        let name = namespace.name_any();
        if let Some(patch) = patch(&namespace, before) {
            namespaces
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map_err(request_failed(format!("label the namespace `{name}`")))?;
        }
    }
    Ok(())
}

/// The merge patch (RFC 7386) that exempts a namespace; `None` if it is not to be changed.
fn patch(namespace: &Namespace, before: Option<Timestamp>) -> Option<Value> {
    let meta = &namespace.metadata;
    let created = meta.creation_timestamp.as_ref();
    let is_baked = before.is_none_or(|before| created.is_some_and(|created| created.0 < before));
    if !is_baked || meta.name.as_deref() == Some(ENFORCED) {
        return None;
    }
    let has_label = |label: &String| {
        let labels = meta.labels.as_ref();
        labels.is_some_and(|labels| labels.contains_key(label))
    };
    let labels: Map<String, Value> = MODES
        .iter()
        .map(|mode| format!("{LABEL_PREFIX}{mode}"))
        .filter(|label| !has_label(label))
        .map(|label| (label, json!("privileged")))
        .collect();
    (!labels.is_empty()).then(|| json!({ "metadata": { "labels": labels } }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::{Value, json};

    use super::patch;

    #[test]
    fn baked_namespaces_are_exempted() {
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
            assert_eq!(patch(&namespace, before), expected, "{meta}");
        }
    }
}
