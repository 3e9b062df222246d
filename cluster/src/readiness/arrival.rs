//! Waiting until nodes that have just joined a cluster are honestly ready. How the rest of the cluster is does not matter.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};

use super::PAUSE;
use super::dns::{DnsProbe, DnsWatch};
use super::evidence::Since;
use super::judge::{Observed, node_reason};
use super::missing::{self, Missing};
use super::observe::observe;
use super::pods::{bound_to, judge_pods};
use crate::description::{Description, Node};
use crate::wait::{Poll, TimedOut, Wait};

/// The label of what makes service addresses work on a node.
const PROXY: (&str, &str) = ("k8s-app", "kube-proxy");

/// Waits until each of `nodes`, which have joined `cluster` since `boot`, is ready: its lease is renewed and its kubelet says
/// so, the pods that every node has run there, and DNS answers it through its service address. `vantages` must hold one
/// for each of them.
///
/// # Errors
/// [`TimedOut`] that lists all that is still missing.
pub async fn wait_until_arrived(
    client: &Client,
    cluster: &Description,
    nodes: &[Node],
    boot: Timestamp,
    vantages: Vec<DnsProbe>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let dns = DnsWatch::start_on(cluster, nodes, vantages);
    Wait::new("the new nodes to be ready", limit)
        .pause(PAUSE)
        .until(|| async {
            let mut missing = match observe(client).await {
                Err(error) => vec![Missing::Api { answer: error.line() }],
                Ok(observed) => {
                    let now = Timestamp::now();
                    judge_arrivals(&observed, nodes, &Since { boot, now })
                }
            };
            missing.extend(dns.missing());
            if missing.is_empty() {
                Poll::Seen(())
            } else {
                Poll::Pending(missing::list(&missing))
            }
        })
        .await
}

fn judge_arrivals(observed: &Observed, nodes: &[Node], since: &Since) -> Vec<Missing> {
    let is_proxy = |pod: &Pod| pod.labels().get(PROXY.0).is_some_and(|value| value == PROXY.1);
    // Who chose another way for services has none on any node.
    let wanted = observed.pods.iter().any(is_proxy);
    let mut missing = Vec::new();
    for node in nodes {
        let of_node = |reason| Missing::Node {
            node: node.name.clone(),
            reason,
        };
        missing.extend(node_reason(observed, &node.name, since).map(of_node));
        let everywhere = |pod: &&Pod| {
            let mut owners = pod.owner_references().iter();
            bound_to(pod) == Some(node.name.as_str()) && owners.any(|owner| owner.kind == "DaemonSet")
        };
        let pods: Vec<Pod> = observed.pods.iter().filter(everywhere).cloned().collect();
        if wanted && !pods.iter().any(is_proxy) {
            missing.push(of_node("has no kube-proxy yet".to_owned()));
        }
        missing.extend(judge_pods(&pods, std::slice::from_ref(&node.name), since));
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::judge_arrivals;
    use crate::description::tests::fourth;
    use crate::readiness::evidence::Since;
    use crate::readiness::judge::Observed;

    const FRESH: &str = "2026-03-01T10:00:05Z";

    fn missing(pods: Value) -> Vec<String> {
        let observed = Observed {
            nodes: serde_json::from_value(json!([{"metadata": {"name": "node04"}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": FRESH}]}}]))
            .unwrap(),
            leases: serde_json::from_value(json!([
                {"metadata": {"name": "node04"}, "spec": {"renewTime": "2026-03-01T10:00:05.5Z"}}]))
            .unwrap(),
            pods: serde_json::from_value(pods).unwrap(),
            ..Observed::default()
        };
        let since = Since {
            boot: "2026-03-01T10:00:00Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        };
        let missing = judge_arrivals(&observed, &[fourth()], &since);
        missing.iter().map(ToString::to_string).collect()
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
    fn a_node_needs_what_all_nodes_have_and_nothing_else() {
        let elsewhere = pod("kube-proxy", "node01", true);
        let mut pending = pod("app", "", false);
        pending["spec"]["nodeName"] = Value::Null;
        let mut own = pod("app", "node04", false);
        own["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet".into();
        let here = |ready| pod("kube-proxy", "node04", ready);
        let none: [&str; 0] = [];
        assert_eq!(missing(json!([elsewhere, here(true), pending, own])), none);
        assert_eq!(missing(json!([])), none);
        assert_eq!(
            missing(json!([elsewhere])),
            ["node `node04`: has no kube-proxy yet"]
        );
        assert_eq!(
            missing(json!([here(false)])),
            ["pod `kube-system/kube-proxy`: container `c` runs, not ready"]
        );
        assert_eq!(
            missing(json!([here(true), pod("agent", "node04", false)])),
            ["pod `kube-system/agent`: container `c` runs, not ready"]
        );
    }
}
