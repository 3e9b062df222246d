//! The judgement of pods and of the sets that should have them.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::evidence::Since;
use super::judge::Observed;
use super::missing::Missing;
use crate::name::NodeName;

/// What a kubelet marks the API's copy of a static pod with.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Finds the pods that are not ready: those that wait for a node, and those on the expected nodes with a
/// container that has not started since boot or is not ready.
pub(super) fn judge_pods(pods: &[Pod], expected: &[NodeName], since: &Since) -> Vec<Missing> {
    let concerns = |pod: &&Pod| match bound_to(pod) {
        Some(node) => expected.iter().any(|name| name.as_str() == node),
        None => true,
    };
    let reasons = |pod: &Pod| -> Vec<Missing> {
        let name = full_name(&pod.metadata);
        pod_reasons(pod, since)
            .into_iter()
            .map(|reason| Missing::Pod {
                pod: name.clone(),
                reason,
            })
            .collect()
    };
    pods.iter()
        .filter(|pod| is_alive(pod))
        .filter(concerns)
        .flat_map(reasons)
        .collect()
}

/// Finds the sets that lack pods. Without it, a pod that nobody has made anew yet would not be missed.
pub(super) fn judge_sets(observed: &Observed) -> Vec<Missing> {
    let replica_sets = observed.replica_sets.iter().map(|set| {
        (
            "replica set",
            &set.metadata,
            set.spec.as_ref().and_then(|spec| spec.replicas),
        )
    });
    let stateful_sets = observed.stateful_sets.iter().map(|set| {
        (
            "stateful set",
            &set.metadata,
            set.spec.as_ref().and_then(|spec| spec.replicas),
        )
    });
    let lacking = |(kind, set, replicas): (&'static str, &ObjectMeta, Option<i32>)| {
        // One is the API's default.
        let want = usize::try_from(replicas.unwrap_or(1)).unwrap_or(0);
        let owned = |pod: &&Pod| {
            pod.owner_references()
                .iter()
                .any(|owner| Some(&owner.uid) == set.uid.as_ref())
        };
        let have = observed
            .pods
            .iter()
            .filter(|pod| is_alive(pod))
            .filter(owned)
            .count();
        (have < want).then(|| Missing::Pods {
            kind,
            name: full_name(set),
            have,
            want,
        })
    };
    replica_sets.chain(stateful_sets).filter_map(lacking).collect()
}

/// Whether the pod runs or is meant to: it is not done, nor on its way out. The mirror of a static pod is
/// never done, whatever it says, because the kubelet starts the pod again.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let done = matches!(phase, Some("Succeeded" | "Failed")) && !pod.annotations().contains_key(MIRROR);
    !done && pod.metadata.deletion_timestamp.is_none()
}

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

fn pod_reasons(pod: &Pod, since: &Since) -> Vec<String> {
    let status = pod.status.as_ref();
    let Some(spec) = pod.spec.as_ref().filter(|_| bound_to(pod).is_some()) else {
        let conditions = status
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let scheduled = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled");
        let why = scheduled.and_then(|condition| condition.message.as_deref());
        return vec![format!(
            "has no node yet{}",
            why.map(|why| format!(": {why}")).unwrap_or_default()
        )];
    };
    let main = (
        spec.containers.iter(),
        status.and_then(|status| status.container_statuses.as_deref()),
    );
    // An init container that is restarted always is a sidecar, and runs as long as the pod.
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let sidecars = (
        sidecars,
        status.and_then(|status| status.init_container_statuses.as_deref()),
    );
    let reason = |container: &Container, statuses: Option<&[ContainerStatus]>| {
        let status = statuses
            .unwrap_or_default()
            .iter()
            .find(|status| status.name == container.name);
        let reason = container_reason(spec, status, since)?;
        Some(format!("container `{}` {reason}", container.name))
    };
    let main = main.0.filter_map(|container| reason(container, main.1));
    let sidecars = sidecars.0.filter_map(|container| reason(container, sidecars.1));
    main.chain(sidecars).collect()
}

fn container_reason(pod: &PodSpec, status: Option<&ContainerStatus>, since: &Since) -> Option<String> {
    let Some(status) = status else {
        return Some("has no status yet".to_owned());
    };
    match &status.state {
        Some(ContainerState {
            running: Some(running),
            ..
        }) => {
            let started = running
                .started_at
                .as_ref()
                .is_some_and(|time| since.whole_seconds(time.0));
            match (started, status.ready) {
                (false, _) => Some("not started since boot".to_owned()),
                (true, false) => Some("runs, not ready".to_owned()),
                (true, true) => None,
            }
        }
        Some(ContainerState {
            terminated: Some(end),
            ..
        }) => {
            let may_end = pod
                .restart_policy
                .as_deref()
                .is_some_and(|policy| policy != "Always");
            let reason = end.reason.as_deref().unwrap_or("unknown");
            (end.exit_code != 0 || !may_end)
                .then(|| format!("terminated: {reason} (exit code {})", end.exit_code))
        }
        Some(ContainerState {
            waiting: Some(waiting),
            ..
        }) => {
            let reason = waiting.reason.as_deref().unwrap_or("unknown");
            // The message of a crash loop names the pod again; those of other reasons say what is wrong.
            let message = waiting
                .message
                .as_deref()
                .filter(|_| reason != "CrashLoopBackOff");
            Some(format!(
                "waiting: {reason}{}",
                message.map(|text| format!(": {text}")).unwrap_or_default()
            ))
        }
        _ => Some("waiting".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{judge_pods, judge_sets};
    use crate::name::NodeName;
    use crate::readiness::evidence::Since;
    use crate::readiness::judge::Observed;

    const BAKED: &str = "2026-02-01T08:00:00Z";
    const FRESH: &str = "2026-03-01T10:00:05Z";

    /// A ready pod of two containers on node01; the tests break it.
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
        let since = Since {
            boot: "2026-03-01T10:00:00.7Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        };
        let pods = [serde_json::from_value(pod).unwrap()];
        let missing = judge_pods(&pods, &[NodeName::numbered(1)], &since);
        missing
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn only_containers_of_this_boot_count() {
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
                "container `one` runs, not ready",
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
    fn a_pending_pod_says_why() {
        let mut pod = changed("/spec/nodeName", json!(null));
        pod["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]});
        assert!(reasons(pod).ends_with("has no node yet: 0/1 nodes are available"));
    }

    #[test]
    fn sidecars_count_and_other_init_containers_do_not() {
        let mut pod = pod();
        pod["spec"]["initContainers"] =
            json!([{"name": "side", "restartPolicy": "Always"}, {"name": "once"}]);
        assert_eq!(
            reasons(pod),
            "pod `kube-system/coredns`: container `side` has no status yet"
        );
    }

    #[test]
    fn pods_that_are_done_or_elsewhere_do_not_count() {
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
    fn a_container_of_a_job_may_end() {
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
    fn sets_must_have_all_their_pods() {
        let set = |uid: &str, spec: Value| json!({"metadata": {"namespace": "a", "name": "b", "uid": uid}, "spec": spec});
        let spec = |replicas: i32| json!({"replicas": replicas, "selector": {}, "serviceName": ""});
        let lacking = |uid: &str, replicas: i32, pods: Vec<Value>| {
            let observed = Observed {
                pods: serde_json::from_value(pods.into()).unwrap(),
                replica_sets: serde_json::from_value(json!([set(uid, spec(replicas))])).unwrap(),
                ..Observed::default()
            };
            judge_sets(&observed)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(lacking("u1", 1, vec![pod()]), "");
        assert_eq!(lacking("u1", 0, vec![]), "");
        assert_eq!(
            lacking("u1", 2, vec![pod()]),
            "replica set `a/b`: 1 of 2 pods exist"
        );
        assert_eq!(
            lacking("u2", 1, vec![pod()]),
            "replica set `a/b`: 0 of 1 pods exist"
        );
        let leaving = changed("/metadata/deletionTimestamp", json!(FRESH));
        assert_eq!(
            lacking("u1", 1, vec![leaving]),
            "replica set `a/b`: 0 of 1 pods exist"
        );
        let observed = Observed {
            stateful_sets: serde_json::from_value(json!([set("u1", spec(1))])).unwrap(),
            ..Observed::default()
        };
        assert_eq!(
            judge_sets(&observed)[0].to_string(),
            "stateful set `a/b`: 0 of 1 pods exist"
        );
    }
}
