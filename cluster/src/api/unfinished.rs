//! Objects in a transitional state, which a freeze preserves: `parbake freeze` lists them.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;

use super::response::request_failed;
use super::summary;
use crate::error::Error;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unfinished {
    /// `node`, `namespace`, `pod`, `job` or `claim`.
    pub kind: &'static str,
    /// `NAMESPACE/NAME`, or `NAME` of an object without a namespace.
    pub name: String,
    pub state: String,
}

/// Lists nodes and pods that are not ready, terminating namespaces and pods, active jobs, and unbound claims.
///
/// # Errors
/// A request failed.
pub async fn list(client: &Client) -> Result<Vec<Unfinished>, Error> {
    let nodes = summary::fetch(client).await?.nodes;
    let all = ListParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let pods: Api<Pod> = Api::all(client.clone());
    let jobs: Api<Job> = Api::all(client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let (namespaces, pods, jobs, claims) = tokio::try_join!(
        namespaces.list(&all),
        pods.list(&all),
        jobs.list(&all),
        claims.list(&all)
    )
    .map_err(request_failed("list namespaces, pods, jobs and claims"))?;
    let mut found: Vec<Unfinished> = nodes
        .into_iter()
        .filter(|node| !node.ready)
        .map(|node| Unfinished {
            kind: "node",
            name: node.name,
            state: "not ready".to_owned(),
        })
        .collect();
    found.extend(namespaces.items.iter().filter_map(|namespace| {
        namespace.metadata.deletion_timestamp.as_ref()?;
        Some(unfinished("namespace", &namespace.metadata, "Terminating"))
    }));
    found.extend(pods.items.iter().filter_map(pod));
    found.extend(jobs.items.iter().filter_map(job));
    found.extend(claims.items.iter().filter_map(claim));
    found.sort();
    Ok(found)
}

fn unfinished(kind: &'static str, meta: &ObjectMeta, state: impl Into<String>) -> Unfinished {
    let name = meta.name.as_deref().unwrap_or_default();
    let name = match &meta.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let state = state.into();
    Unfinished { kind, name, state }
}

fn pod(pod: &Pod) -> Option<Unfinished> {
    let status = pod.status.as_ref();
    let is_completed = matches!(status?.phase.as_deref(), Some("Succeeded" | "Failed"));
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let is_ready = conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if is_completed || (is_ready && pod.metadata.deletion_timestamp.is_none()) {
        return None;
    }
    let state = match summary::pod_state(pod) {
        state if state == "Running" => "not ready".to_owned(),
        state => state,
    };
    Some(unfinished("pod", &pod.metadata, state))
}

fn job(job: &Job) -> Option<Unfinished> {
    let active = job.status.as_ref()?.active.filter(|active| *active > 0)?;
    let pods = if active == 1 { "pod" } else { "pods" };
    Some(unfinished(
        "job",
        &job.metadata,
        format!("{active} {pods} active"),
    ))
}

fn claim(claim: &PersistentVolumeClaim) -> Option<Unfinished> {
    let phase = claim.status.as_ref()?.phase.as_deref()?;
    (phase != "Bound").then(|| unfinished("claim", &claim.metadata, phase))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{claim, job, pod};

    fn with_name(mut object: Value) -> Value {
        object["metadata"]["name"] = json!("x");
        object["metadata"]["namespace"] = json!("a");
        object
    }

    #[test]
    fn pods_are_unfinished_unless_ready_or_completed() {
        let with = |phase: &str, ready: &str| {
            with_name(json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}))
        };
        let mut leaving = with("Running", "True");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:00Z");
        let cases = [
            (with("Running", "True"), None),
            (with("Succeeded", "False"), None),
            (with("Failed", "False"), None),
            (with("Running", "False"), Some("not ready")),
            (with("Pending", "False"), Some("Pending")),
            (leaving, Some("Terminating")),
        ];
        for (object, expected) in cases {
            let found = pod(&serde_json::from_value(object.clone()).unwrap());
            let state = found.as_ref().map(|found| found.state.as_str());
            assert_eq!(state, expected, "{object}");
            assert!(found.is_none_or(|found| found.name == "a/x"));
        }
    }

    #[test]
    fn active_jobs_and_unbound_claims_are_unfinished() {
        let found = |status| job(&serde_json::from_value(with_name(json!({ "status": status }))).unwrap());
        assert_eq!(found(json!({"active": 2})).unwrap().state, "2 pods active");
        assert_eq!(found(json!({"succeeded": 1})), None);
        let found = |phase| {
            let object = with_name(json!({"status": {"phase": phase}}));
            claim(&serde_json::from_value(object).unwrap())
        };
        assert_eq!(found("Pending").unwrap().state, "Pending");
        assert_eq!(found("Bound"), None);
    }
}
