//! A node that is to be given up: no pod comes to it any more, and those that are there leave.
//!
//! As `kubectl drain` has it: pods are evicted, so that disruption budgets are kept and each has the time to end that it asks
//! for. What belongs to the node itself stays: pods of daemon sets and static pods. Whoever has pods that nobody makes
//! anew must say that they may go. What is in `emptyDir` volumes goes with its pod.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use thiserror::Error;

use crate::api_error::{ApiError, absent_is_fine, explain};
use crate::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};

/// What a kubelet marks the API's copy of a static pod with.
const MIRROR: &str = "kubernetes.io/config.mirror";
const PAUSE: Duration = Duration::from_millis(500);
/// How long one look, with an eviction of every pod, may take.
const LOOK: Duration = Duration::from_secs(15);

/// A node whose pods did not leave.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The API refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Pods would be gone for ever.
    #[error(
        "nobody would make {} of node `{node}` anew; delete what is not needed, or say `--force`",
        pods.join(", ")
    )]
    Orphans {
        /// The node.
        node: NodeName,
        /// The pods, in backquotes.
        pods: Vec<String>,
    },
    /// They had not left in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// What becomes of a pod when its node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It belongs to the node, and goes with it.
    Stays,
    /// Somebody makes it anew elsewhere, or it has done its work.
    Leaves,
    /// Nobody makes it anew.
    Orphan,
}

fn fate(pod: &Pod) -> Fate {
    let controller = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match controller {
        _ if pod.annotations().contains_key(MIRROR) => Fate::Stays,
        Some(owner) if owner.kind == "DaemonSet" => Fate::Stays,
        Some(_) => Fate::Leaves,
        None if matches!(phase, Some("Succeeded" | "Failed")) => Fate::Leaves,
        None => Fate::Orphan,
    }
}

fn shown(pod: &Pod) -> String {
    format!("`{}/{}`", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Whether pods may come to `node`. They do not come to one that is not there.
///
/// # Errors
/// The API does not answer.
pub async fn is_open(client: &Client, node: &NodeName) -> Result<bool, ApiError> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let found = nodes.get_opt(node.as_str()).await;
    let found = found.map_err(ApiError::new(format!("look node `{node}` up")))?;
    Ok(found.is_some_and(|node| node.spec.and_then(|spec| spec.unschedulable) != Some(true)))
}

/// Keeps pods from coming to `node`. One that is not there needs nothing.
///
/// # Errors
/// The API refused it.
pub async fn cordon(client: &Client, node: &NodeName) -> Result<(), ApiError> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let closed = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    let patched = nodes.patch(node.as_str(), &PatchParams::default(), &closed).await;
    absent_is_fine(patched).map_err(ApiError::new(format!("cordon node `{node}`")))
}

/// Lets pods come to `node` again. One that is not there needs nothing.
///
/// # Errors
/// The API refused it.
pub async fn uncordon(client: &Client, node: &NodeName) -> Result<(), ApiError> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let open = Patch::Merge(json!({"spec": {"unschedulable": null}}));
    let patched = nodes.patch(node.as_str(), &PatchParams::default(), &open).await;
    absent_is_fine(patched).map_err(ApiError::new(format!("uncordon node `{node}`")))
}

/// Makes sure that no pod of `node` would be lost for ever.
///
/// # Errors
/// [`DrainError::Orphans`], or the API does not answer.
pub async fn check(client: &Client, node: &NodeName) -> Result<(), DrainError> {
    let pods = list(client, node).await?;
    let orphans = pods.iter().filter(|pod| fate(pod) == Fate::Orphan);
    let pods: Vec<String> = orphans.map(shown).collect();
    if pods.is_empty() {
        return Ok(());
    }
    Err(DrainError::Orphans {
        node: node.clone(),
        pods,
    })
}

/// Has the pods of `node` leave, and waits until they have.
///
/// # Errors
/// [`TimedOut`] with those that are still there, and who keeps them.
pub async fn drain(client: &Client, node: &NodeName, limit: Duration) -> Result<(), DrainError> {
    let what = format!("the pods of node `{node}` to leave");
    let look = || async {
        let pods = match list(client, node).await {
            Ok(pods) => pods,
            Err(error) => return Poll::Pending(error.line()),
        };
        let leaving: Vec<&Pod> = pods.iter().filter(|pod| fate(pod) != Fate::Stays).collect();
        if leaving.is_empty() {
            return Poll::Seen(());
        }
        let stay = join_all(leaving.into_iter().map(|pod| evict(client, pod))).await;
        Poll::Pending(stay.iter().map(|line| format!("\n  {line}")).collect())
    };
    Wait::new(what, limit)
        .pause(PAUSE)
        .attempt(LOOK)
        .until(look)
        .await?;
    Ok(())
}

async fn list(client: &Client, node: &NodeName) -> Result<Vec<Pod>, ApiError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = pods.list(&bound).await;
    Ok(pods
        .map_err(ApiError::new(format!("list the pods of node `{node}`")))?
        .items)
}

/// Asks a pod to leave; says why it is still there.
async fn evict(client: &Client, pod: &Pod) -> String {
    let name = shown(pod);
    if pod.metadata.deletion_timestamp.is_some() {
        return format!("{name} is ending");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match pods.evict(&pod.name_any(), &EvictParams::default()).await {
        Ok(_) => format!("{name} was asked to end"),
        // 429: a disruption budget does not let it go yet.
        Err(error) => format!("{name}: {}", explain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Fate, fate};

    #[test]
    fn what_belongs_to_a_node_stays_and_what_nobody_makes_anew_is_an_orphan() {
        let owned = |kind: &str| {
            json!({"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]})
        };
        let running = || json!({"phase": "Running"});
        let mirror = json!({"name": "a", "annotations": {MIRROR: "x"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "o", "uid": "u", "controller": true}]});
        const MIRROR: &str = super::MIRROR;
        let loose = json!({"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]});
        let cases: [(Value, Value, Fate); 8] = [
            (owned("DaemonSet"), running(), Fate::Stays),
            (mirror, running(), Fate::Stays),
            (owned("ReplicaSet"), running(), Fate::Leaves),
            (owned("Job"), json!({"phase": "Succeeded"}), Fate::Leaves),
            (json!({"name": "a"}), json!({"phase": "Failed"}), Fate::Leaves),
            (json!({"name": "a"}), running(), Fate::Orphan),
            (json!({"name": "a"}), json!({}), Fate::Orphan),
            // Whoever merely owns it makes no other.
            (loose, running(), Fate::Orphan),
        ];
        for (metadata, status, expected) in cases {
            let value = json!({"metadata": metadata, "status": status});
            let pod = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(fate(&pod), expected, "{value}");
        }
    }
}
