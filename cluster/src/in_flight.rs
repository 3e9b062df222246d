//! What a cluster has begun and not ended: a freeze keeps it as it stands.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;

use crate::api_error::ApiError;
use crate::summary;

/// Something that is under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InFlight {
    /// `node`, `namespace`, `pod`, `job` or `claim`.
    pub kind: &'static str,
    /// Its name, after `NAMESPACE/` where it is in one.
    pub name: String,
    /// What it waits for or does.
    pub state: String,
}

/// Looks for nodes that are not ready, namespaces and pods on their way out, pods that are not ready, jobs at work and
/// claims without a volume.
///
/// # Errors
/// The API does not answer.
pub async fn look(client: &Client) -> Result<Vec<InFlight>, ApiError> {
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
    .map_err(ApiError::new("list what is in flight"))?;
    let mut found: Vec<InFlight> = nodes
        .into_iter()
        .filter(|node| !node.ready)
        .map(|node| InFlight {
            kind: "node",
            name: node.name,
            state: "not ready".to_owned(),
        })
        .collect();
    found.extend(namespaces.items.iter().filter_map(|namespace| {
        namespace.metadata.deletion_timestamp.as_ref()?;
        Some(in_flight("namespace", &namespace.metadata, "Terminating"))
    }));
    found.extend(pods.items.iter().filter_map(pod));
    found.extend(jobs.items.iter().filter_map(job));
    found.extend(claims.items.iter().filter_map(claim));
    found.sort();
    Ok(found)
}

fn in_flight(kind: &'static str, meta: &ObjectMeta, state: impl Into<String>) -> InFlight {
    let name = meta.name.as_deref().unwrap_or_default();
    let name = match &meta.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let state = state.into();
    InFlight { kind, name, state }
}

fn pod(pod: &Pod) -> Option<InFlight> {
    let state = summary::pod_state(pod);
    let status = pod.status.as_ref();
    let done = matches!(status?.phase.as_deref(), Some("Succeeded" | "Failed"));
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let ready = conditions.unwrap_or_default().iter().any(|condition| {
        // Nobody has to be asked whether a pod is ready that is on its way out.
        condition.type_ == "Ready" && condition.status == "True" && pod.metadata.deletion_timestamp.is_none()
    });
    let state = if state == "Running" {
        "not ready".to_owned()
    } else {
        state
    };
    (!ready && !done).then(|| in_flight("pod", &pod.metadata, state))
}

fn job(job: &Job) -> Option<InFlight> {
    let active = job.status.as_ref()?.active.filter(|active| *active > 0)?;
    let state = format!("at work, {active} at a time");
    Some(in_flight("job", &job.metadata, state))
}

fn claim(claim: &PersistentVolumeClaim) -> Option<InFlight> {
    let phase = claim.status.as_ref()?.phase.as_deref()?;
    (phase != "Bound").then(|| in_flight("claim", &claim.metadata, phase))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{claim, job, pod};

    fn named(mut object: Value) -> Value {
        object["metadata"]["name"] = json!("x");
        object["metadata"]["namespace"] = json!("a");
        object
    }

    #[test]
    fn a_pod_is_in_flight_unless_it_is_ready_or_done() {
        let with = |phase: &str, ready: &str| {
            named(json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}))
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
    fn jobs_at_work_and_claims_without_a_volume_are() {
        let found = |status| job(&serde_json::from_value(named(json!({ "status": status }))).unwrap());
        assert_eq!(found(json!({"active": 2})).unwrap().state, "at work, 2 at a time");
        assert_eq!(found(json!({"succeeded": 1})), None);
        let found = |phase| {
            let object = named(json!({"status": {"phase": phase}}));
            claim(&serde_json::from_value(object).unwrap())
        };
        assert_eq!(found("Pending").unwrap().state, "Pending");
        assert_eq!(found("Bound"), None);
    }
}
