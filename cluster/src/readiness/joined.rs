//! Waiting until nodes that have just joined a cluster are ready. The state of the rest of the cluster does not matter.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};

use super::dns::{DnsProbe, DnsWatch};
use super::evaluate::node_reason;
use super::freshness::EvidenceWindow;
use super::not_ready::{self, NotReady};
use super::observe::{ApiSnapshot, observe};
use super::pods::{bound_to, unready_pods};
use crate::model::description::{Description, Node};
use crate::wait::{Poll, TimedOut, Wait};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The label of kube-proxy's pods, without which service addresses do not work on a node.
const KUBE_PROXY: (&str, &str) = ("k8s-app", "kube-proxy");

/// Waits until each of `nodes`, which have joined `cluster` since `boot`, is ready: its lease is renewed, its kubelet
/// reports Ready, its pods of daemon sets are ready, and the cluster's DNS answers. `probes` holds one for each node.
///
/// # Errors
/// [`TimedOut`] with everything that is not ready.
pub async fn wait_until_joined(
    client: &Client,
    cluster: &Description,
    nodes: &[Node],
    boot: Timestamp,
    probes: Vec<DnsProbe>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let dns = DnsWatch::start(cluster, nodes, probes);
    let wait = Wait::new("the new nodes to be ready", limit).interval(POLL_INTERVAL);
    wait.until(|| async {
        let mut reasons = match observe(client).await {
            Err(error) => vec![NotReady::Api { answer: error.line() }],
            Ok(snapshot) => evaluate_joined(&snapshot, nodes, &EvidenceWindow::until_now(boot)),
        };
        reasons.extend(dns.unanswered());
        match reasons.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending(not_ready::list(&reasons)),
        }
    })
    .await
}

fn evaluate_joined(snapshot: &ApiSnapshot, nodes: &[Node], window: &EvidenceWindow) -> Vec<NotReady> {
    let is_proxy = |pod: &Pod| {
        let label = pod.labels().get(KUBE_PROXY.0);
        label.is_some_and(|value| value == KUBE_PROXY.1)
    };
    // Clusters with a replacement for kube-proxy run it on no node.
    let has_proxy = snapshot.pods.iter().any(is_proxy);
    let mut reasons = Vec::new();
    for node in nodes {
        let node_not_ready = |reason| NotReady::Node {
            node: node.name.clone(),
            reason,
        };
        reasons.extend(node_reason(snapshot, &node.name, window).map(node_not_ready));
        let is_daemon = |pod: &&Pod| {
            let mut owners = pod.owner_references().iter();
            bound_to(pod) == Some(node.name.as_str()) && owners.any(|owner| owner.kind == "DaemonSet")
        };
        let pods: Vec<&Pod> = snapshot.pods.iter().filter(is_daemon).collect();
        if has_proxy && !pods.iter().any(|pod| is_proxy(pod)) {
            reasons.push(node_not_ready("has no kube-proxy yet".to_owned()));
        }
        reasons.extend(unready_pods(
            snapshot,
            pods,
            std::slice::from_ref(&node.name),
            window,
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::evaluate_joined;
    use crate::model::description::tests::joining_node;
    use crate::readiness::freshness::EvidenceWindow;
    use crate::readiness::observe::ApiSnapshot;

    const FRESH: &str = "2026-03-01T10:00:05Z";

    fn reasons(pods: Value) -> Vec<String> {
        let snapshot = ApiSnapshot {
            nodes: serde_json::from_value(json!([{"metadata": {"name": "node04"}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": FRESH}]}}]))
            .unwrap(),
            leases: serde_json::from_value(json!([
                {"metadata": {"name": "node04"}, "spec": {"renewTime": "2026-03-01T10:00:05.5Z"}}]))
            .unwrap(),
            pods: serde_json::from_value(pods).unwrap(),
            ..ApiSnapshot::default()
        };
        let window = EvidenceWindow {
            boot: "2026-03-01T10:00:00Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        };
        let reasons = evaluate_joined(&snapshot, &[joining_node()], &window);
        reasons.iter().map(ToString::to_string).collect()
    }

    fn pod(name: &str, node: &str, ready: bool) -> Value {
        json!({
            "metadata": {"namespace": "kube-system", "name": name, "labels": {"k8s-app": name}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "u", "controller": true}]},
            "spec": {"nodeName": node, "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "restartCount": 0, "ready": ready, "state": {"running": {"startedAt": FRESH}}}]}
        })
    }

    #[test]
    fn joined_node_needs_only_pods_of_daemon_sets() {
        let elsewhere = pod("kube-proxy", "node01", true);
        let mut pending = pod("app", "", false);
        pending["spec"]["nodeName"] = Value::Null;
        let mut own = pod("app", "node04", false);
        own["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet".into();
        let here = |ready| pod("kube-proxy", "node04", ready);
        let none: [&str; 0] = [];
        assert_eq!(reasons(json!([elsewhere, here(true), pending, own])), none);
        assert_eq!(reasons(json!([])), none);
        assert_eq!(
            reasons(json!([elsewhere])),
            ["node `node04`: has no kube-proxy yet"]
        );
        assert_eq!(
            reasons(json!([here(false)])),
            ["pod `kube-system/kube-proxy`: container `c` is running, but not ready"]
        );
        assert_eq!(
            reasons(json!([here(true), pod("agent", "node04", false)])),
            ["pod `kube-system/agent`: container `c` is running, but not ready"]
        );
    }
}
