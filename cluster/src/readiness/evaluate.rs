//! Evaluating which nodes and pods are not ready, from evidence of this boot only.

use kube::ResourceExt;

use super::freshness::{EvidenceWindow, format_time};
use super::not_ready::NotReady;
use super::observe::ApiSnapshot;
use super::pods::{incomplete_sets, unready_pods};
use crate::model::name::NodeName;

/// The taints of a node that was not ready. The node lifecycle controller removes them some time after the kubelet
/// reports Ready.
const NOT_READY_TAINTS: [&str; 3] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/network-unavailable",
];

/// The reasons why a cluster is not ready; empty if it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    pub nodes: Vec<NotReady>,
    /// Pods, and sets with too few pods.
    pub pods: Vec<NotReady>,
}

/// Evaluates a snapshot. Nodes other than `expected`, and their pods, are ignored.
pub fn evaluate(snapshot: &ApiSnapshot, expected: &[NodeName], window: &EvidenceWindow) -> Evaluation {
    let node = |name: &NodeName| {
        let reason = node_reason(snapshot, name, window)?;
        Some(NotReady::Node {
            node: name.clone(),
            reason,
        })
    };
    let mut pods = unready_pods(snapshot, &snapshot.pods, expected, window);
    pods.extend(incomplete_sets(snapshot));
    Evaluation {
        nodes: expected.iter().filter_map(node).collect(),
        pods,
    }
}

/// Why a node is not ready.
///
/// The lease shows that the kubelet reaches the API. The Ready condition shows what the kubelet reports: it posts the
/// condition once after every start, and then only on changes or every five minutes. Nothing but the kubelet changes
/// `lastHeartbeatTime`, so it is newer than the boot from the first post on.
pub(super) fn node_reason(
    snapshot: &ApiSnapshot,
    name: &NodeName,
    window: &EvidenceWindow,
) -> Option<String> {
    let Some(node) = snapshot.node(name) else {
        return Some("not in the API".to_owned());
    };
    let lease = snapshot
        .leases
        .iter()
        .find(|lease| lease.name_any() == name.as_str());
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    match renewed {
        None => return Some("has no lease".to_owned()),
        Some(time) if !window.contains(time) => {
            return Some(format!(
                "lease not renewed since boot, last at {}",
                format_time(time)
            ));
        }
        Some(_) => {}
    }
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return Some("has no Ready condition".to_owned());
    };
    let heartbeat = ready.last_heartbeat_time.as_ref();
    if !heartbeat.is_some_and(|time| window.contains_second(time.0)) {
        return Some(format!(
            "kubelet has not reported since boot (frozen: Ready is {})",
            ready.status
        ));
    }
    if ready.status != "True" {
        let details = [ready.reason.as_deref(), ready.message.as_deref()];
        let details: Vec<&str> = details.into_iter().flatten().collect();
        return Some(format!("not ready: {}", details.join(": ")));
    }
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let taint = taints
        .iter()
        .find(|taint| NOT_READY_TAINTS.contains(&taint.key.as_str()))?;
    Some(format!("still has the taint `{}`", taint.key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::evaluate;
    use crate::model::name::NodeName;
    use crate::readiness::freshness::EvidenceWindow;
    use crate::readiness::observe::ApiSnapshot;

    const BAKED: &str = "2026-02-01T08:00:00Z";
    const FRESH: &str = "2026-03-01T10:00:05Z";
    const AHEAD: &str = "2026-03-01T12:00:00Z";

    fn window() -> EvidenceWindow {
        EvidenceWindow {
            boot: "2026-03-01T10:00:00.7Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        }
    }

    fn node(name: &str, ready: &str, heartbeat: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"conditions": [
            {"type": "DiskPressure", "status": "False", "lastHeartbeatTime": FRESH},
            {"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "no CNI",
             "lastHeartbeatTime": heartbeat, "lastTransitionTime": BAKED}]}})
    }

    fn lease(name: &str, renewed: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": renewed}})
    }

    fn reasons(nodes: Vec<Value>, leases: Vec<Value>) -> Vec<String> {
        let snapshot = ApiSnapshot {
            nodes: serde_json::from_value(nodes.into()).unwrap(),
            leases: serde_json::from_value(leases.into()).unwrap(),
            ..ApiSnapshot::default()
        };
        let expected = [NodeName::numbered(1), NodeName::numbered(2)];
        let evaluation = evaluate(&snapshot, &expected, &window());
        assert_eq!(evaluation.pods, []);
        evaluation.nodes.iter().map(ToString::to_string).collect()
    }

    /// Evaluates node01; node02 is ready.
    fn reason(node01: Value, lease01: Value) -> String {
        let nodes = vec![node01, node("node02", "True", FRESH)];
        let leases = vec![lease01, lease("node02", FRESH)];
        reasons(nodes, leases).join("; ")
    }

    #[test]
    fn frozen_state_is_no_evidence() {
        let nodes = vec![node("node01", "True", BAKED), node("node02", "True", BAKED)];
        let leases = vec![lease("node01", BAKED), lease("node02", BAKED)];
        assert_eq!(
            reasons(nodes, leases),
            [
                "node `node01`: lease not renewed since boot, last at 2026-02-01T08:00:00Z",
                "node `node02`: lease not renewed since boot, last at 2026-02-01T08:00:00Z",
            ]
        );
    }

    #[test]
    fn every_piece_of_evidence_is_required() {
        let ready = || node("node01", "True", FRESH);
        assert_eq!(reason(ready(), lease("node01", FRESH)), "");
        let stale = reason(node("node01", "True", BAKED), lease("node01", FRESH));
        assert_eq!(
            stale,
            "node `node01`: kubelet has not reported since boot (frozen: Ready is True)"
        );
        let unready = reason(node("node01", "False", FRESH), lease("node01", FRESH));
        assert_eq!(unready, "node `node01`: not ready: KubeletNotReady: no CNI");
        assert!(reason(ready(), lease("node01", BAKED)).contains("lease not renewed since boot"));
        assert_eq!(
            reason(ready(), lease("node09", FRESH)),
            "node `node01`: has no lease"
        );
        assert_eq!(
            reason(node("node09", "True", FRESH), lease("node01", FRESH)),
            "node `node01`: not in the API"
        );
        assert_eq!(
            reason(json!({"metadata": {"name": "node01"}}), lease("node01", FRESH)),
            "node `node01`: has no Ready condition"
        );
    }

    #[test]
    fn times_in_the_future_are_no_evidence() {
        assert!(reason(node("node01", "True", FRESH), lease("node01", AHEAD)).contains("lease not renewed"));
        assert!(reason(node("node01", "True", AHEAD), lease("node01", FRESH)).contains("has not reported"));
    }

    #[test]
    fn node_with_a_not_ready_taint_is_not_ready() {
        let mut tainted = node("node01", "True", FRESH);
        tainted["spec"] = json!({"taints": [
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]});
        assert_eq!(
            reason(tainted.clone(), lease("node01", FRESH)),
            "node `node01`: still has the taint `node.kubernetes.io/not-ready`"
        );
        tainted["spec"]["taints"].as_array_mut().unwrap().pop();
        assert_eq!(reason(tainted, lease("node01", FRESH)), "");
    }
}
