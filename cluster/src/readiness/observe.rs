//! The API's state from which readiness is evaluated.

use std::collections::BTreeSet;
use std::fmt::Debug;

use http::Request;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::objects::NODE_LEASES;
use crate::api::response::{explain, request_failed};
use crate::error::Error;
use crate::model::name::NodeName;

/// The state of the API at one time.
#[derive(Debug, Default)]
pub struct ApiSnapshot {
    pub nodes: Vec<Node>,
    /// The nodes' leases.
    pub leases: Vec<Lease>,
    pub pods: Vec<Pod>,
    pub replica_sets: Vec<ReplicaSet>,
    pub stateful_sets: Vec<StatefulSet>,
    /// Namespaces that are being deleted. Nothing can be created in them, so their pods do not count.
    pub terminating_namespaces: BTreeSet<String>,
}

impl ApiSnapshot {
    pub(super) fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name_any() == name.as_str())
    }

    /// True for objects in namespaces that are being deleted.
    pub(super) fn is_terminating(&self, namespace: Option<&String>) -> bool {
        namespace.is_some_and(|namespace| self.terminating_namespaces.contains(namespace))
    }
}

/// Requests `/readyz`. The error is the answer, or the list of failed checks.
pub(super) async fn readyz(client: &Client) -> Result<(), String> {
    let request = Request::get("/readyz")
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed_checks(&error).unwrap_or_else(|| explain(&error))),
    }
}

/// The names of the failed checks in an answer of `/readyz`, which lists them as `[-]name failed: ...`.
fn failed_checks(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let failed = status
        .message
        .lines()
        .filter_map(|line| line.strip_prefix("[-]")?.split(' ').next());
    let failed: Vec<&str> = failed.collect();
    (!failed.is_empty()).then(|| format!("not ready: {}", failed.join(", ")))
}

/// Requests a snapshot. No request needs API discovery, so unavailable aggregated APIs do not matter.
pub(super) async fn observe(client: &Client) -> Result<ApiSnapshot, Error> {
    let (nodes, leases, pods, replica_sets, stateful_sets, terminating_namespaces) = tokio::try_join!(
        list::<Node>(Api::all(client.clone()), "nodes"),
        list::<Lease>(Api::namespaced(client.clone(), NODE_LEASES), "node leases"),
        list::<Pod>(Api::all(client.clone()), "pods"),
        list::<ReplicaSet>(Api::all(client.clone()), "replica sets"),
        list::<StatefulSet>(Api::all(client.clone()), "stateful sets"),
        terminating_namespaces(client),
    )?;
    Ok(ApiSnapshot {
        nodes,
        leases,
        pods,
        replica_sets,
        stateful_sets,
        terminating_namespaces,
    })
}

/// Lists from the API server's watch cache. It may lag behind, so evidence of this boot is seen late, but never early.
async fn list<K>(api: Api<K>, what: &str) -> Result<Vec<K>, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let answer = api.list(&ListParams::default().match_any()).await;
    Ok(answer.map_err(request_failed(format!("list {what}")))?.items)
}

async fn terminating_namespaces(client: &Client) -> Result<BTreeSet<String>, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = namespaces
        .list_metadata(&ListParams::default().match_any())
        .await
        .map_err(request_failed("list namespaces"))?;
    let terminating = all
        .items
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_some());
    Ok(terminating.map(ResourceExt::name_any).collect())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::failed_checks;

    #[test]
    fn failed_checks_are_named() {
        let body = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac/bootstrap-roles failed: \
            reason withheld\nreadyz check failed";
        let error = |body: &str| kube::Error::Api(Status::failure(body, "").with_code(500).boxed());
        assert_eq!(
            failed_checks(&error(body)).as_deref(),
            Some("not ready: etcd, poststarthook/rbac/bootstrap-roles")
        );
        assert_eq!(failed_checks(&error("forbidden")), None);
    }
}
