//! Draining nodes, with the rules of `kubectl drain`.
//!
//! Pods are evicted, so that disruption budgets hold and each pod has its grace period. Pods that belong to the node stay:
//! those of daemon sets, and static pods. Pods without a controller must be confirmed. The contents of `emptyDir` volumes
//! are lost.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::objects::MIRROR_POD;
use super::response::{explain, ignore_not_found, request_failed};
use crate::error::Error;
use crate::model::name::NodeName;
use crate::wait::{Poll, Wait};

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The time for one attempt, with an eviction of every pod.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// What happens to a pod when its node is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    /// It belongs to the node.
    Stays,
    /// Its controller recreates it elsewhere, or it is completed.
    Leaves,
    /// Nothing recreates it.
    Unmanaged,
}

fn disposition(pod: &Pod) -> Disposition {
    let controller = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match controller {
        _ if pod.annotations().contains_key(MIRROR_POD) => Disposition::Stays,
        Some(owner) if owner.kind == "DaemonSet" => Disposition::Stays,
        Some(_) => Disposition::Leaves,
        None if matches!(phase, Some("Succeeded" | "Failed")) => Disposition::Leaves,
        None => Disposition::Unmanaged,
    }
}

fn quoted_name(pod: &Pod) -> String {
    format!("`{}/{}`", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// True if `node` exists and is not cordoned.
///
/// # Errors
/// A request failed.
pub async fn is_schedulable(client: &Client, node: &NodeName) -> Result<bool, Error> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let found = nodes.get_opt(node.as_str()).await;
    let found = found.map_err(request_failed(format!("get node `{node}`")))?;
    Ok(found.is_some_and(|node| node.spec.and_then(|spec| spec.unschedulable) != Some(true)))
}

/// Marks `node` unschedulable. A missing node is not an error.
///
/// # Errors
/// A request failed.
pub async fn cordon(client: &Client, node: &NodeName) -> Result<(), Error> {
    set_unschedulable(client, node, "cordon", json!(true)).await
}

/// Marks `node` schedulable. A missing node is not an error.
///
/// # Errors
/// A request failed.
pub async fn uncordon(client: &Client, node: &NodeName) -> Result<(), Error> {
    set_unschedulable(client, node, "uncordon", Value::Null).await
}

async fn set_unschedulable(client: &Client, node: &NodeName, act: &str, value: Value) -> Result<(), Error> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": value}}));
    let patched = nodes.patch(node.as_str(), &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(request_failed(format!("{act} node `{node}`")))
}

/// Checks that all pods of `node` would be recreated elsewhere.
///
/// # Errors
/// [`Error::UnmanagedPods`], or a request failed.
pub async fn check_drainable(client: &Client, node: &NodeName) -> Result<(), Error> {
    let pods = list(client, node).await?;
    let unmanaged = pods
        .iter()
        .filter(|pod| disposition(pod) == Disposition::Unmanaged);
    let pods: Vec<String> = unmanaged.map(quoted_name).collect();
    if pods.is_empty() {
        return Ok(());
    }
    Err(Error::UnmanagedPods {
        node: node.to_string(),
        pods,
    })
}

/// Evicts the pods of `node`, and waits until they are gone.
///
/// # Errors
/// [`Error::TimedOut`] with the remaining pods, and what prevents their eviction.
pub async fn drain(client: &Client, node: &NodeName, limit: Duration) -> Result<(), Error> {
    let attempt = || async {
        let pods = match list(client, node).await {
            Ok(pods) => pods,
            Err(error) => return Poll::Pending(error.line()),
        };
        let leaving: Vec<&Pod> = pods
            .iter()
            .filter(|pod| disposition(pod) != Disposition::Stays)
            .collect();
        if leaving.is_empty() {
            return Poll::Ready(());
        }
        let remaining = join_all(leaving.into_iter().map(|pod| evict(client, pod))).await;
        Poll::Pending(remaining.iter().map(|line| format!("\n  {line}")).collect())
    };
    Wait::new(format!("the pods of node `{node}` to leave"), limit)
        .interval(POLL_INTERVAL)
        .attempt_timeout(ATTEMPT_TIMEOUT)
        .until(attempt)
        .await?;
    Ok(())
}

async fn list(client: &Client, node: &NodeName) -> Result<Vec<Pod>, Error> {
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = pods.list(&bound).await;
    Ok(pods
        .map_err(request_failed(format!("list the pods of node `{node}`")))?
        .items)
}

/// Evicts a pod; returns why it still exists.
async fn evict(client: &Client, pod: &Pod) -> String {
    let name = quoted_name(pod);
    if pod.metadata.deletion_timestamp.is_some() {
        return format!("{name} is terminating");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match pods.evict(&pod.name_any(), &EvictParams::default()).await {
        Ok(_) => format!("{name} is being evicted"),
        // 429: a disruption budget does not allow it yet.
        Err(error) => format!("{name}: {}", explain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Disposition, disposition};

    #[test]
    fn pods_are_classified_by_their_controller() {
        let owned = |kind: &str| {
            json!({"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]})
        };
        let running = || json!({"phase": "Running"});
        let mirror = json!({"name": "a", "annotations": {MIRROR: "x"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "o", "uid": "u", "controller": true}]});
        const MIRROR: &str = crate::api::objects::MIRROR_POD;
        let non_controller = json!({"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]});
        let cases: [(Value, Value, Disposition); 8] = [
            (owned("DaemonSet"), running(), Disposition::Stays),
            (mirror, running(), Disposition::Stays),
            (owned("ReplicaSet"), running(), Disposition::Leaves),
            (owned("Job"), json!({"phase": "Succeeded"}), Disposition::Leaves),
            (
                json!({"name": "a"}),
                json!({"phase": "Failed"}),
                Disposition::Leaves,
            ),
            (json!({"name": "a"}), running(), Disposition::Unmanaged),
            (json!({"name": "a"}), json!({}), Disposition::Unmanaged),
            // An owner that is not the controller recreates nothing.
            (non_controller, running(), Disposition::Unmanaged),
        ];
        for (metadata, status, expected) in cases {
            let value = json!({"metadata": metadata, "status": status});
            let pod = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(disposition(&pod), expected, "{value}");
        }
    }
}
