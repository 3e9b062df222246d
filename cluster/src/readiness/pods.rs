//! Evaluating pods, and the sets that should have them.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::freshness::EvidenceWindow;
use super::not_ready::NotReady;
use super::observe::ApiSnapshot;
use crate::api::objects::MIRROR_POD;
use crate::model::name::NodeName;

/// The pods that are not ready: pods without a node, and pods on the expected nodes with a container that has not started
/// since boot or is not ready.
pub(super) fn unready_pods<'a>(
    snapshot: &ApiSnapshot,
    pods: impl IntoIterator<Item = &'a Pod>,
    expected: &[NodeName],
    window: &EvidenceWindow,
) -> Vec<NotReady> {
    let is_expected = |pod: &&Pod| match bound_to(pod) {
        Some(node) => expected.iter().any(|name| name.as_str() == node),
        None => true,
    };
    let reasons = |pod: &Pod| {
        let name = full_name(&pod.metadata);
        pod_reasons(pod, window)
            .into_iter()
            .map(move |reason| NotReady::Pod {
                pod: name.clone(),
                reason,
            })
    };
    pods.into_iter()
        .filter(|pod| is_alive(pod) && !snapshot.is_terminating(pod.metadata.namespace.as_ref()))
        .filter(is_expected)
        .flat_map(reasons)
        .collect()
}

/// The sets with too few pods. Pods that no controller has created yet would be overlooked otherwise.
pub(super) fn incomplete_sets(snapshot: &ApiSnapshot) -> Vec<NotReady> {
    let replica_sets = snapshot.replica_sets.iter().map(|set| {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
        ("replica set", &set.metadata, replicas)
    });
    let stateful_sets = snapshot.stateful_sets.iter().map(|set| {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
        ("stateful set", &set.metadata, replicas)
    });
    let incomplete = |(kind, set, replicas): (&'static str, &ObjectMeta, Option<i32>)| {
        if set.deletion_timestamp.is_some() || snapshot.is_terminating(set.namespace.as_ref()) {
            return None;
        }
        // The API's default is one.
        let want = usize::try_from(replicas.unwrap_or(1)).unwrap_or(0);
        let is_owned = |pod: &&Pod| {
            let mut owners = pod.owner_references().iter();
            owners.any(|owner| Some(&owner.uid) == set.uid.as_ref())
        };
        let pods = snapshot.pods.iter();
        let have = pods.filter(|pod| is_alive(pod)).filter(is_owned).count();
        (have < want).then(|| NotReady::Pods {
            kind,
            name: full_name(set),
            have,
            want,
        })
    };
    replica_sets.chain(stateful_sets).filter_map(incomplete).collect()
}

/// True if the pod runs or should run: it is neither completed nor being deleted. The mirror of a static pod is never
/// completed, whatever its status, because the kubelet restarts the pod.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_completed =
        matches!(phase, Some("Succeeded" | "Failed")) && !pod.annotations().contains_key(MIRROR_POD);
    !is_completed && pod.metadata.deletion_timestamp.is_none()
}

/// The node of a pod.
pub(super) fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|node| !node.is_empty())
}

fn full_name(meta: &ObjectMeta) -> String {
    let [namespace, name] = [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
    format!("{namespace}/{name}")
}

fn pod_reasons(pod: &Pod, window: &EvidenceWindow) -> Vec<String> {
    let status = pod.status.as_ref();
    let Some(spec) = pod.spec.as_ref().filter(|_| bound_to(pod).is_some()) else {
        let conditions = status
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let scheduled = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled");
        let message = scheduled.and_then(|condition| condition.message.as_deref());
        return vec![with_message("has no node yet", message)];
    };
    let statuses = status.and_then(|status| status.container_statuses.as_deref());
    let init_statuses = status.and_then(|status| status.init_container_statuses.as_deref());
    // An init container that is always restarted is a sidecar, and runs as long as the pod.
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let reason = |container: &Container, statuses: Option<&[ContainerStatus]>| {
        let mut statuses = statuses.unwrap_or_default().iter();
        let status = statuses.find(|status| status.name == container.name);
        let reason = container_reason(spec, status, window)?;
        Some(format!("container `{}` {reason}", container.name))
    };
    let containers = spec
        .containers
        .iter()
        .filter_map(|container| reason(container, statuses));
    let sidecars = sidecars.filter_map(|container| reason(container, init_statuses));
    containers.chain(sidecars).collect()
}

fn container_reason(
    pod: &PodSpec,
    status: Option<&ContainerStatus>,
    window: &EvidenceWindow,
) -> Option<String> {
    let Some(status) = status else {
        return Some("has no status yet".to_owned());
    };
    let ContainerState {
        running,
        terminated,
        waiting,
    } = status.state.clone().unwrap_or_default();
    if let Some(running) = running {
        let has_started = running
            .started_at
            .is_some_and(|time| window.contains_second(time.0));
        return match (has_started, status.ready) {
            (false, _) => Some("not started since boot".to_owned()),
            (true, false) => Some("is running, but not ready".to_owned()),
            (true, true) => None,
        };
    }
    if let Some(end) = terminated {
        let restart_policy = pod.restart_policy.as_deref();
        if end.exit_code == 0 && restart_policy.is_some_and(|policy| policy != "Always") {
            return None;
        }
        let reason = end.reason.as_deref().unwrap_or("unknown");
        return Some(format!("terminated: {reason} (exit code {})", end.exit_code));
    }
    let Some(waiting) = waiting else {
        return Some("waiting".to_owned());
    };
    let reason = waiting.reason.as_deref().unwrap_or("unknown");
    // The message of a crash loop only repeats the pod's name; other messages say what is wrong.
    let message = waiting
        .message
        .as_deref()
        .filter(|_| reason != "CrashLoopBackOff");
    Some(with_message(&format!("waiting: {reason}"), message))
}

fn with_message(reason: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{incomplete_sets, unready_pods};
    use crate::model::name::NodeName;
    use crate::readiness::freshness::EvidenceWindow;
    use crate::readiness::observe::ApiSnapshot;

    const BAKED: &str = "2026-02-01T08:00:00Z";
    const FRESH: &str = "2026-03-01T10:00:05Z";

    /// A ready pod with two containers on node01, which the tests change.
    fn pod() -> Value {
        let status = |name: &str| {
            json!({"name": name, "image": "", "imageID": "", "restartCount": 1, "ready": true,
                "state": {"running": {"startedAt": FRESH}}})
        };
        json!({
            "metadata": {"namespace": "kube-system", "name": "coredns", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "coredns", "uid": "u1", "controller": true}]},
            "spec": {"nodeName": "node01", "restartPolicy": "Always",
                "containers": [{"name": "one"}, {"name": "two"}]},
            "status": {"phase": "Running", "containerStatuses": [status("one"), status("two")]}
        })
    }

    fn changed(path: &str, value: Value) -> Value {
        let mut pod = pod();
        let (parent, key) = path.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        pod
    }

    fn reasons(pod: Value) -> String {
        let window = EvidenceWindow {
            boot: "2026-03-01T10:00:00.7Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        };
        let pods = [serde_json::from_value(pod).unwrap()];
        let reasons = unready_pods(&ApiSnapshot::default(), &pods, &[NodeName::numbered(1)], &window);
        reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn only_containers_started_since_boot_are_ready() {
        assert_eq!(reasons(pod()), "");
        let state = "/status/containerStatuses/1/state";
        let cases = [
            (
                state,
                json!({"running": {"startedAt": BAKED}}),
                "container `two` not started since boot",
            ),
            (
                state,
                json!({"running": {}}),
                "container `two` not started since boot",
            ),
            (
                state,
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                "container `two` waiting: CrashLoopBackOff",
            ),
            (
                state,
                json!({"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}),
                "container `two` waiting: ErrImageNeverPull: no image",
            ),
            (
                state,
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                "container `two` terminated: Completed (exit code 0)",
            ),
            (state, json!({}), "container `two` waiting"),
            (
                "/status/containerStatuses/0/ready",
                json!(false),
                "container `one` is running, but not ready",
            ),
            (
                "/status/containerStatuses",
                json!([]),
                "container `one` has no status yet; pod `kube-system/coredns`: container `two` has no status yet",
            ),
            ("/spec/nodeName", json!(null), "has no node yet"),
        ];
        for (path, value, expected) in cases {
            assert_eq!(
                reasons(changed(path, value)),
                format!("pod `kube-system/coredns`: {expected}"),
                "{path}"
            );
        }
    }

    #[test]
    fn pending_pod_has_the_schedulers_message() {
        let mut pod = changed("/spec/nodeName", json!(null));
        pod["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]});
        assert!(reasons(pod).ends_with("has no node yet: 0/1 nodes are available"));
    }

    #[test]
    fn sidecars_count_but_other_init_containers_do_not() {
        let mut pod = pod();
        pod["spec"]["initContainers"] =
            json!([{"name": "side", "restartPolicy": "Always"}, {"name": "once"}]);
        assert_eq!(
            reasons(pod),
            "pod `kube-system/coredns`: container `side` has no status yet"
        );
    }

    #[test]
    fn completed_pods_and_pods_on_other_nodes_do_not_count() {
        let stale = json!({"running": {"startedAt": BAKED}});
        let broken = || changed("/status/containerStatuses/1/state", stale.clone());
        let with = |path: &str, value: Value| {
            let mut pod = broken();
            let (parent, key) = path.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value;
            reasons(pod)
        };
        assert_ne!(reasons(broken()), "");
        assert_eq!(with("/status/phase", json!("Succeeded")), "");
        assert_eq!(with("/status/phase", json!("Failed")), "");
        assert_eq!(with("/spec/nodeName", json!("node09")), "");
        assert_eq!(with("/metadata/deletionTimestamp", json!(FRESH)), "");
        let mut mirror = broken();
        mirror["status"]["phase"] = json!("Failed");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert_ne!(reasons(mirror), "");
    }

    #[test]
    fn container_of_a_job_may_terminate() {
        let mut pod = changed(
            "/status/containerStatuses/1/state",
            json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        );
        pod["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(reasons(pod.clone()), "");
        pod["status"]["containerStatuses"][1]["state"]["terminated"]["exitCode"] = json!(2);
        assert!(reasons(pod).contains("(exit code 2)"));
    }

    #[test]
    fn sets_with_too_few_pods_are_incomplete() {
        let set = |uid: &str, spec: Value| json!({"metadata": {"namespace": "a", "name": "b", "uid": uid}, "spec": spec});
        let spec = |replicas: i32| json!({"replicas": replicas, "selector": {}, "serviceName": ""});
        let reasons = |uid: &str, replicas: i32, pods: Vec<Value>| {
            let snapshot = ApiSnapshot {
                pods: serde_json::from_value(pods.into()).unwrap(),
                replica_sets: serde_json::from_value(json!([set(uid, spec(replicas))])).unwrap(),
                ..ApiSnapshot::default()
            };
            incomplete_sets(&snapshot)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(reasons("u1", 1, vec![pod()]), "");
        assert_eq!(reasons("u1", 0, vec![]), "");
        assert_eq!(
            reasons("u1", 2, vec![pod()]),
            "replica set `a/b`: 1 of 2 pods exist"
        );
        assert_eq!(
            reasons("u2", 1, vec![pod()]),
            "replica set `a/b`: 0 of 1 pods exist"
        );
        let leaving = changed("/metadata/deletionTimestamp", json!(FRESH));
        assert_eq!(
            reasons("u1", 1, vec![leaving]),
            "replica set `a/b`: 0 of 1 pods exist"
        );
        let snapshot = ApiSnapshot {
            stateful_sets: serde_json::from_value(json!([set("u1", spec(1))])).unwrap(),
            ..ApiSnapshot::default()
        };
        assert_eq!(
            incomplete_sets(&snapshot)[0].to_string(),
            "stateful set `a/b`: 0 of 1 pods exist"
        );
    }

    #[test]
    fn terminating_namespaces_and_sets_do_not_count() {
        let set = |name: &str, deleted: Value| {
            json!({"metadata": {"namespace": "kube-system", "name": name, "uid": name, "deletionTimestamp": deleted},
                "spec": {"replicas": 1, "selector": {}}})
        };
        let stale = changed("/status/containerStatuses", json!([]));
        let mut snapshot = ApiSnapshot {
            pods: serde_json::from_value(json!([stale])).unwrap(),
            replica_sets: serde_json::from_value(json!([set("x", json!(null)), set("y", json!(FRESH))]))
                .unwrap(),
            ..ApiSnapshot::default()
        };
        let window = EvidenceWindow {
            boot: "2026-03-01T10:00:00Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        };
        let reasons = |snapshot: &ApiSnapshot| {
            let pods = unready_pods(snapshot, &snapshot.pods, &[NodeName::numbered(1)], &window).len();
            (pods, incomplete_sets(snapshot).len())
        };
        assert_eq!(reasons(&snapshot), (2, 1));
        snapshot.terminating_namespaces.insert("kube-system".to_owned());
        assert_eq!(reasons(&snapshot), (0, 0));
    }
}
