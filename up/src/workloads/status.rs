//! Readiness of an object, from its JSON.

use serde_json::Value;

/// Why an object is not ready; `None` if it is, or if its kind has no readiness.
pub(super) fn not_ready(object: &Value) -> Option<String> {
    let reason = match object["kind"].as_str()? {
        "Deployment" => replicas(object, "availableReplicas", true),
        "StatefulSet" => {
            let rolls = object["spec"]["updateStrategy"]["type"] != "OnDelete";
            replicas(object, "readyReplicas", rolls)
        }
        "DaemonSet" => {
            let desired = number(&object["status"]["desiredNumberScheduled"]).unwrap_or(0);
            count_ready(object, desired, "numberReady")
        }
        "Pod" => pod(object),
        "Job" if object["spec"]["suspend"] == true => None,
        "Job" => (!condition(object, "Complete")).then(|| "is not complete".to_owned()),
        "CustomResourceDefinition" => {
            (!condition(object, "Established")).then(|| "is not established".to_owned())
        }
        _ => None,
    }?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let name = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    Some(format!("{kind} {name} {reason}"))
}

fn replicas(object: &Value, ready: &str, rolls: bool) -> Option<String> {
    let desired = number(&object["spec"]["replicas"]).unwrap_or(1);
    let updated = number(&object["status"]["updatedReplicas"]).unwrap_or(0);
    if rolls && updated < desired && observed(object) {
        return Some(format!("has {updated} of {desired} pods updated"));
    }
    count_ready(object, desired, ready)
}

fn count_ready(object: &Value, desired: i64, ready: &str) -> Option<String> {
    if !observed(object) {
        return Some("is not observed by its controller yet".to_owned());
    }
    let ready = number(&object["status"][ready]).unwrap_or(0);
    (ready < desired).then(|| format!("has {ready} of {desired} pods ready"))
}

/// True if the controller has observed the current generation.
fn observed(object: &Value) -> bool {
    let generation = number(&object["status"]["observedGeneration"]).unwrap_or(0);
    generation >= number(&object["metadata"]["generation"]).unwrap_or(0)
}

fn pod(object: &Value) -> Option<String> {
    let phase = object["status"]["phase"].as_str().unwrap_or("Unknown");
    let done = phase == "Succeeded" || condition(object, "Ready");
    (!done).then(|| format!("is {} and not ready", phase.to_lowercase()))
}

/// Why a pod is not ready, according to its scheduler and kubelet; `None` if it is ready.
pub(super) fn pod_problem(pod: &Value) -> Option<String> {
    not_ready(pod)?;
    let status = &pod["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let unscheduled = conditions
        .filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
        .find_map(|condition| condition["message"].as_str());
    let kinds = ["initContainerStatuses", "containerStatuses"];
    let containers = kinds.iter().filter_map(|kind| status[*kind].as_array()).flatten();
    let mut stopped = containers.filter_map(|container| {
        let state = ["waiting", "terminated"].map(|state| &container["state"][state]);
        let state = state.into_iter().find(|state| state["reason"].is_string())?;
        let reason = state["reason"].as_str()?;
        match state["message"].as_str() {
            Some(message) => Some(format!("{reason}: {message}")),
            None => Some(reason.to_owned()),
        }
    });
    let why = unscheduled.map(str::to_owned).or_else(|| stopped.next())?;
    let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    Some(format!("pod {}/{}: {why}", part("namespace"), part("name")))
}

fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{not_ready, pod_problem};

    fn object(kind: &str, generation: u64, spec: Value, status: Value) -> Value {
        let metadata = json!({"name": "a", "namespace": "b", "generation": generation});
        json!({"kind": kind, "metadata": metadata, "spec": spec, "status": status})
    }

    #[test]
    fn readiness_follows_the_current_generation() {
        let condition = |name: &str| json!({"conditions": [{"type": name, "status": "True"}]});
        let cases = [
            ("ConfigMap", 0, json!({}), json!({}), None),
            (
                "Deployment",
                1,
                json!({}),
                json!({}),
                Some("deployment b/a is not observed by its controller yet"),
            ),
            (
                "Deployment",
                2,
                json!({"replicas": 2}),
                json!({"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}),
                Some("deployment b/a is not observed by its controller yet"),
            ),
            (
                "Deployment",
                2,
                json!({"replicas": 2}),
                json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 2}),
                Some("deployment b/a has 1 of 2 pods updated"),
            ),
            (
                "Deployment",
                2,
                json!({"replicas": 2}),
                json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                Some("deployment b/a has 1 of 2 pods ready"),
            ),
            (
                "Deployment",
                2,
                json!({"replicas": 2}),
                json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                None,
            ),
            (
                "Deployment",
                1,
                json!({"replicas": 0}),
                json!({"observedGeneration": 1}),
                None,
            ),
            (
                "StatefulSet",
                1,
                json!({"updateStrategy": {"type": "OnDelete"}}),
                json!({"observedGeneration": 1, "readyReplicas": 1}),
                None,
            ),
            (
                "DaemonSet",
                1,
                json!({}),
                json!({"observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": 2}),
                Some("daemonset b/a has 2 of 3 pods ready"),
            ),
            (
                "Pod",
                0,
                json!({}),
                json!({"phase": "Pending"}),
                Some("pod b/a is pending and not ready"),
            ),
            ("Pod", 0, json!({}), json!({"phase": "Succeeded"}), None),
            ("Pod", 0, json!({}), condition("Ready"), None),
            ("Job", 0, json!({}), json!({}), Some("job b/a is not complete")),
            ("Job", 0, json!({"suspend": true}), json!({}), None),
            ("Job", 0, json!({}), condition("Complete"), None),
        ];
        for (kind, generation, spec, status, expected) in cases {
            let found = not_ready(&object(kind, generation, spec.clone(), status.clone()));
            assert_eq!(found.as_deref(), expected, "{kind} {spec} {status}");
        }
    }

    #[test]
    fn pod_problem_comes_from_scheduler_or_kubelet() {
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
        ]});
        let waiting = json!({"phase": "Pending", "containerStatuses": [
            {"state": {"running": {}}},
            {"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}},
        ]});
        let ended = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]});
        for (status, expected) in [
            (unscheduled, Some("pod b/a: 0/1 nodes are available")),
            (waiting, Some("pod b/a: ErrImageNeverPull: no image")),
            (ended, Some("pod b/a: OOMKilled")),
            (json!({"phase": "Pending"}), None),
            (json!({"phase": "Succeeded"}), None),
        ] {
            let found = pod_problem(&object("Pod", 0, json!({}), status.clone()));
            assert_eq!(found.as_deref(), expected, "{status}");
        }
    }
}
