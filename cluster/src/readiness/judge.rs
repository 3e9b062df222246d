//! The judgement: which nodes and pods are not ready, going by evidence of this boot alone.

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::evidence::{Since, show};
use super::missing::Missing;
use super::pods::{judge_pods, judge_sets};
use crate::name::NodeName;

/// The taints that keep pods away from a node that was not ready; the node lifecycle controller takes them
/// off some time after the kubelet reports Ready.
const NOT_READY_TAINTS: [&str; 3] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/network-unavailable",
];

/// What the API says.
#[derive(Debug, Default)]
pub struct Observed {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All leases of `kube-node-lease`.
    pub leases: Vec<Lease>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All replica sets.
    pub replica_sets: Vec<ReplicaSet>,
    /// All stateful sets.
    pub stateful_sets: Vec<StatefulSet>,
}

/// What is missing; empty where all is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// About nodes.
    pub nodes: Vec<Missing>,
    /// About pods and the sets that should have them.
    pub pods: Vec<Missing>,
}

/// Judges what was observed.
///
/// Nodes that are not expected, and the pods bound to them, are nobody's business here.
pub fn judge(observed: &Observed, expected: &[NodeName], since: &Since) -> Verdict {
    let node = |name: &NodeName| {
        let reason = node_reason(observed, name, since)?;
        Some(Missing::Node {
            node: name.clone(),
            reason,
        })
    };
    let mut pods = judge_pods(&observed.pods, expected, since);
    pods.extend(judge_sets(observed));
    Verdict {
        nodes: expected.iter().filter_map(node).collect(),
        pods,
    }
}

/// Why a node is not ready.
///
/// The lease shows that the kubelet reaches the API. That the kubelet says Ready shows in the condition, which
/// it posts once after every start and then only when something changes or every five minutes; no one but the
/// kubelet moves `lastHeartbeatTime`. So it is newer than the boot exactly from the first post on.
pub(crate) fn node_reason(observed: &Observed, name: &NodeName, since: &Since) -> Option<String> {
    let Some(node) = observed
        .nodes
        .iter()
        .find(|node| node.name_any() == name.as_str())
    else {
        return Some("not in the API".to_owned());
    };
    let lease = observed
        .leases
        .iter()
        .find(|lease| lease.name_any() == name.as_str());
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    match renewed {
        None => return Some("has no lease".to_owned()),
        Some(time) if !since.exact(time) => {
            return Some(format!("lease not renewed since boot, last at {}", show(time)));
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
    match &ready.last_heartbeat_time {
        Some(time) if since.whole_seconds(time.0) => {}
        _ => {
            return Some(format!(
                "kubelet has not reported since boot (frozen: Ready is {})",
                ready.status
            ));
        }
    }
    if ready.status != "True" {
        let why = [ready.reason.as_deref(), ready.message.as_deref()];
        let why: Vec<&str> = why.into_iter().flatten().collect();
        return Some(format!("not ready: {}", why.join(": ")));
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

    use super::{Observed, judge};
    use crate::name::NodeName;
    use crate::readiness::evidence::Since;

    const BAKED: &str = "2026-02-01T08:00:00Z";
    const FRESH: &str = "2026-03-01T10:00:05Z";
    const AHEAD: &str = "2026-03-01T12:00:00Z";

    fn since() -> Since {
        Since {
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
        let observed = Observed {
            nodes: serde_json::from_value(nodes.into()).unwrap(),
            leases: serde_json::from_value(leases.into()).unwrap(),
            ..Observed::default()
        };
        let expected = [NodeName::numbered(1), NodeName::numbered(2)];
        let verdict = judge(&observed, &expected, &since());
        assert_eq!(verdict.pods, []);
        verdict.nodes.iter().map(ToString::to_string).collect()
    }

    /// Judges node01 with node02 being well.
    fn reason(node01: Value, lease01: Value) -> String {
        let nodes = vec![node01, node("node02", "True", FRESH)];
        let leases = vec![lease01, lease("node02", FRESH)];
        reasons(nodes, leases).join("; ")
    }

    #[test]
    fn a_cluster_fresh_from_the_freezer_is_not_ready() {
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
    fn every_piece_of_evidence_counts() {
        let well = || node("node01", "True", FRESH);
        assert_eq!(reason(well(), lease("node01", FRESH)), "");
        let frozen = reason(node("node01", "True", BAKED), lease("node01", FRESH));
        assert_eq!(
            frozen,
            "node `node01`: kubelet has not reported since boot (frozen: Ready is True)"
        );
        let unready = reason(node("node01", "False", FRESH), lease("node01", FRESH));
        assert_eq!(unready, "node `node01`: not ready: KubeletNotReady: no CNI");
        assert!(reason(well(), lease("node01", BAKED)).contains("lease not renewed since boot"));
        assert_eq!(
            reason(well(), lease("node09", FRESH)),
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
    fn a_time_from_the_future_was_frozen() {
        assert!(reason(node("node01", "True", FRESH), lease("node01", AHEAD)).contains("lease not renewed"));
        assert!(reason(node("node01", "True", AHEAD), lease("node01", FRESH)).contains("has not reported"));
    }

    #[test]
    fn a_node_that_pods_are_kept_from_is_not_ready() {
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
