//! Taking nodes out of a cluster that was baked with more of them.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use thiserror::Error;

use crate::api_error::{ApiError, absent_is_fine, is_conflict};
use crate::description::{Description, Role};
use crate::name::NodeName;
use crate::readiness::NODE_LEASES;
use crate::wait::{Poll, TimedOut, Wait};

/// The taints that keep workloads off a control plane; the second is the name until 1.24.
const CONTROL_PLANE_TAINTS: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];

/// Nodes that could not be taken out.
#[derive(Debug, Error)]
#[error("could not take the nodes that do not run out of the cluster")]
pub struct CleanupError(#[source] TimedOut);

/// Takes the nodes of `baked` that are not in `running` out of the cluster: the nodes, their leases, and the
/// pods bound to them, at once. When no worker is left, lets workloads onto the control plane.
///
/// Controllers make the pods anew where they can run. May be called before the API answers: tries until it is
/// done.
///
/// # Errors
/// When it is not done within `limit`; the source says which request failed last.
pub async fn remove_nodes(
    client: &Client,
    baked: &Description,
    running: &Description,
    limit: Duration,
) -> Result<(), CleanupError> {
    let removed: Vec<&NodeName> = baked
        .nodes()
        .iter()
        .map(|node| &node.name)
        .filter(|name| running.node(name).is_none())
        .collect();
    if removed.is_empty() {
        return Ok(());
    }
    let no_workers = running.nodes().iter().all(|node| node.role == Role::ControlPlane);
    let opened: Vec<&NodeName> = running
        .nodes()
        .iter()
        .filter(|_| no_workers)
        .map(|node| &node.name)
        .collect();
    Wait::new("the API to forget the nodes", limit)
        .until(|| async {
            let removals = try_join_all(removed.iter().map(|name| remove_node(client, name)));
            let openings = try_join_all(opened.iter().map(|name| open_to_workloads(client, name)));
            match tokio::try_join!(removals, openings) {
                Ok(_) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.line()),
            }
        })
        .await
        .map_err(CleanupError)
}

/// Takes nodes out of the cluster and nothing else: the nodes, their leases, and the pods bound to them, at once.
///
/// # Errors
/// When it is not done within `limit`; the source says which request failed last.
pub async fn forget_nodes(client: &Client, nodes: &[NodeName], limit: Duration) -> Result<(), CleanupError> {
    Wait::new("the API to forget the nodes", limit)
        .until(|| async {
            match try_join_all(nodes.iter().map(|name| remove_node(client, name))).await {
                Ok(_) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.line()),
            }
        })
        .await
        .map_err(CleanupError)
}

/// The node goes first, so that the scheduler sends nothing there while its pods are deleted.
async fn remove_node(client: &Client, node: &NodeName) -> Result<(), ApiError> {
    let name = node.as_str();
    let now = DeleteParams::default().grace_period(0);
    let nodes: Api<Node> = Api::all(client.clone());
    absent_is_fine(nodes.delete(name, &now).await).map_err(ApiError::new(format!("delete node `{name}`")))?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NODE_LEASES);
    absent_is_fine(leases.delete(name, &now).await)
        .map_err(ApiError::new(format!("delete the lease of node `{name}`")))?;
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = pods
        .list_metadata(&ListParams::default().fields(&format!("spec.nodeName={name}")))
        .await;
    let bound = bound.map_err(ApiError::new(format!("list the pods of node `{name}`")))?;
    try_join_all(bound.items.iter().map(|pod| async {
        let (namespace, pod) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let act = format!("delete pod `{namespace}/{pod}` of node `{name}`");
        absent_is_fine(pods.delete(&pod, &now).await).map_err(ApiError::new(act))
    }))
    .await?;
    Ok(())
}

/// Takes the taint off a control plane that keeps workloads away.
///
/// # Errors
/// The API refused.
pub async fn open_to_workloads(client: &Client, node: &NodeName) -> Result<(), ApiError> {
    let act = || ApiError::new(format!("take the control-plane taint off node `{node}`"));
    let nodes: Api<Node> = Api::all(client.clone());
    loop {
        let current = nodes.get(node.as_str()).await.map_err(act())?;
        let taints = current
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_deref())
            .unwrap_or_default();
        let Some(kept) = without_control_plane(taints) else {
            return Ok(());
        };
        // The version makes the API refuse when a controller has changed the taints meanwhile.
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": current.metadata.resource_version},
            "spec": {"taints": kept},
        }));
        match nodes.patch(node.as_str(), &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(act()(error)),
        }
    }
}

/// The taints that stay, if any goes.
fn without_control_plane(taints: &[Taint]) -> Option<Vec<&Taint>> {
    let stays = |taint: &&Taint| !CONTROL_PLANE_TAINTS.contains(&taint.key.as_str());
    let kept: Vec<&Taint> = taints.iter().filter(stays).collect();
    (kept.len() < taints.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Taint;

    use super::without_control_plane;

    #[test]
    fn only_the_control_plane_taints_go() {
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        let other = taint("node.kubernetes.io/not-ready");
        let taints = [taint("node-role.kubernetes.io/control-plane"), other.clone()];
        assert_eq!(without_control_plane(&taints), Some(vec![&other]));
        assert_eq!(
            without_control_plane(&[taint("node-role.kubernetes.io/master")]),
            Some(vec![])
        );
        assert_eq!(without_control_plane(&[other]), None);
        assert_eq!(without_control_plane(&[]), None);
    }
}
