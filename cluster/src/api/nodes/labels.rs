//! Setting labels and taints of nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint as NodeTaint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::api::response::request_failed;
use crate::error::Error;
use crate::model::labels_and_taints::{LabelsAndTaints, Taint};
use crate::model::name::NodeName;
use crate::wait::Wait;

/// Adds labels and taints to nodes; a taint replaces the one with the same key and effect. May be called before the API
/// answers: retries until `limit`.
///
/// # Errors
/// [`Error::TimedOut`] with the last failed request.
pub async fn set_labels_and_taints(
    client: &Client,
    nodes: &BTreeMap<NodeName, LabelsAndTaints>,
    limit: Duration,
) -> Result<(), Error> {
    if nodes.values().all(|wanted| *wanted == LabelsAndTaints::default()) {
        return Ok(());
    }
    let wait = Wait::new("the API to accept the labels and taints of nodes", limit);
    wait.until_ok(|| set_once(client, nodes)).await?;
    Ok(())
}

async fn set_once(client: &Client, nodes: &BTreeMap<NodeName, LabelsAndTaints>) -> Result<(), Error> {
    let api: Api<Node> = Api::all(client.clone());
    for (name, wanted) in nodes {
        let failed = || request_failed(format!("set labels and taints of node `{name}`"));
        let node = api.get(name.as_str()).await.map_err(failed())?;
        if let Some(patch) = patch(&node, wanted) {
            api.patch(name.as_str(), &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map_err(failed())?;
        }
    }
    Ok(())
}

/// The merge patch (RFC 7386) that adds labels and taints to a node; `None` if it has them. Taints are replaced as a whole, so
/// the patch names the version of the node: a concurrent change is a conflict.
fn patch(node: &Node, wanted: &LabelsAndTaints) -> Option<Value> {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let has_labels = wanted
        .labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let before = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let after = with_taints(&before, &wanted.taints);
    if has_labels && before == after {
        return None;
    }
    Some(json!({
        "metadata": { "labels": wanted.labels, "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": after },
    }))
}

fn with_taints(before: &[NodeTaint], wanted: &[Taint]) -> Vec<NodeTaint> {
    let mut after = before.to_vec();
    for taint in wanted {
        let new = NodeTaint {
            key: taint.key.clone(),
            value: (!taint.value.is_empty()).then(|| taint.value.clone()),
            effect: taint.effect.clone(),
            ..NodeTaint::default()
        };
        let has_same_identity =
            |other: &&mut NodeTaint| (other.key.as_str(), other.effect.as_str()) == taint.identity();
        match after.iter_mut().find(has_same_identity) {
            Some(existing) if existing.value == new.value => {}
            Some(existing) => *existing = new,
            None => after.push(new),
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::patch;
    use crate::model::labels_and_taints::LabelsAndTaints;

    #[test]
    fn existing_labels_and_taints_are_kept() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "node01", "resourceVersion": "7", "labels": { "a": "1" } },
            "spec": { "taints": [
                { "key": "own", "effect": "NoSchedule" },
                { "key": "t", "value": "old", "effect": "NoSchedule" },
            ] },
        }))
        .unwrap();
        let wanted = LabelsAndTaints {
            labels: BTreeMap::from([("b".to_owned(), "2".to_owned())]),
            taints: vec![
                "t=new:NoSchedule".parse().unwrap(),
                "t:NoExecute".parse().unwrap(),
            ],
        };
        let expected = json!({
            "metadata": { "labels": { "b": "2" }, "resourceVersion": "7" },
            "spec": { "taints": [
                { "key": "own", "effect": "NoSchedule" },
                { "key": "t", "value": "new", "effect": "NoSchedule" },
                { "key": "t", "effect": "NoExecute" },
            ] },
        });
        assert_eq!(patch(&node, &wanted), Some(expected));
        let existing = LabelsAndTaints {
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            taints: vec!["own:NoSchedule".parse().unwrap()],
        };
        assert_eq!(patch(&node, &existing), None);
    }
}
