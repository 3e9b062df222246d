//! Changes to the nodes of a cluster.

mod labels;

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::objects::NODE_LEASES;
use super::response::{ignore_not_found, is_conflict, request_failed};
use crate::error::Error;
use crate::model::description::{Description, Role};
use crate::model::name::NodeName;
use crate::wait::Wait;
pub use labels::set_labels_and_taints;

/// The taints that keep workloads off a control plane; the second is the name until 1.24.
const CONTROL_PLANE_TAINTS: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];

/// Removes the nodes of `baked` that are not in `running`, with their leases and pods. If no worker is left, lets workloads
/// onto the control plane.
///
/// Controllers recreate the pods elsewhere. May be called before the API answers: retries until `limit`.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn remove_nodes(
    client: &Client,
    baked: &Description,
    running: &Description,
    limit: Duration,
) -> Result<(), Error> {
    let removed: Vec<NodeName> = baked
        .nodes()
        .iter()
        .map(|node| node.name.clone())
        .filter(|name| running.node(name).is_none())
        .collect();
    if removed.is_empty() {
        return Ok(());
    }
    let has_worker = running.nodes().iter().any(|node| node.role == Role::Worker);
    let untainted = running.nodes().iter().filter(|_| !has_worker);
    let untainted: Vec<&NodeName> = untainted.map(|node| &node.name).collect();
    let remove_once = || async {
        let removals = try_join_all(removed.iter().map(|name| delete_node(client, name)));
        let changes = try_join_all(untainted.iter().map(|name| untaint_control_plane(client, name)));
        tokio::try_join!(removals, changes)
    };
    let wait = Wait::new("the API to remove the nodes that do not run", limit);
    wait.until_ok(remove_once).await?;
    Ok(())
}

/// Removes nodes with their leases and pods. Retries until `limit`.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn delete_nodes(client: &Client, nodes: &[NodeName], limit: Duration) -> Result<(), Error> {
    let wait = Wait::new("the API to remove nodes", limit);
    wait.until_ok(|| try_join_all(nodes.iter().map(|name| delete_node(client, name))))
        .await?;
    Ok(())
}

/// Deletes the node first, so that the scheduler binds no new pods to it.
async fn delete_node(client: &Client, node: &NodeName) -> Result<(), Error> {
    let name = node.as_str();
    let at_once = DeleteParams::default().grace_period(0);
    let nodes: Api<Node> = Api::all(client.clone());
    ignore_not_found(nodes.delete(name, &at_once).await)
        .map_err(request_failed(format!("delete node `{name}`")))?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NODE_LEASES);
    ignore_not_found(leases.delete(name, &at_once).await)
        .map_err(request_failed(format!("delete the lease of node `{name}`")))?;
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = pods
        .list_metadata(&ListParams::default().fields(&format!("spec.nodeName={name}")))
        .await
        .map_err(request_failed(format!("list the pods of node `{name}`")))?;
    try_join_all(bound.items.iter().map(|pod| async {
        let (namespace, pod) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let act = format!("delete pod `{namespace}/{pod}` of node `{name}`");
        ignore_not_found(pods.delete(&pod, &at_once).await).map_err(request_failed(act))
    }))
    .await?;
    Ok(())
}

/// Removes the taint that keeps workloads off a control plane.
///
/// # Errors
/// A request failed.
pub async fn untaint_control_plane(client: &Client, node: &NodeName) -> Result<(), Error> {
    let failed = || request_failed(format!("remove the control-plane taint of node `{node}`"));
    let nodes: Api<Node> = Api::all(client.clone());
    loop {
        let current = nodes.get(node.as_str()).await.map_err(failed())?;
        let taints = current
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_deref())
            .unwrap_or_default();
        let Some(kept) = without_control_plane_taints(taints) else {
            return Ok(());
        };
        // With the version, the API rejects the patch if a controller has changed the taints meanwhile.
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": current.metadata.resource_version},
            "spec": {"taints": kept},
        }));
        match nodes.patch(node.as_str(), &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(failed()(error)),
        }
    }
}

/// The other taints; `None` if there are no control-plane taints.
fn without_control_plane_taints(taints: &[Taint]) -> Option<Vec<&Taint>> {
    let is_other = |taint: &&Taint| !CONTROL_PLANE_TAINTS.contains(&taint.key.as_str());
    let kept: Vec<&Taint> = taints.iter().filter(is_other).collect();
    (kept.len() < taints.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Taint;

    use super::without_control_plane_taints;

    #[test]
    fn only_control_plane_taints_are_removed() {
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        let other = taint("node.kubernetes.io/not-ready");
        let taints = [taint("node-role.kubernetes.io/control-plane"), other.clone()];
        assert_eq!(without_control_plane_taints(&taints), Some(vec![&other]));
        assert_eq!(
            without_control_plane_taints(&[taint("node-role.kubernetes.io/master")]),
            Some(vec![])
        );
        assert_eq!(without_control_plane_taints(&[other]), None);
        assert_eq!(without_control_plane_taints(&[]), None);
    }
}
