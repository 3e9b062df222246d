//! Asking the API for everything that readiness is judged by.

use std::fmt::Debug;

use http::Request;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::judge::Observed;
use crate::api_error::{ApiError, explain};

/// Where kubelets keep their leases.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";

/// Asks `/readyz`. The error says what answered instead, or which checks fail.
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

/// Lists what [`judge`](super::judge::judge) wants to see.
pub(crate) async fn observe(client: &Client) -> Result<Observed, ApiError> {
    let (nodes, leases, pods, replica_sets, stateful_sets) = tokio::try_join!(
        list::<Node>(Api::all(client.clone()), "nodes"),
        list::<Lease>(Api::namespaced(client.clone(), NODE_LEASES), "node leases"),
        list::<Pod>(Api::all(client.clone()), "pods"),
        list::<ReplicaSet>(Api::all(client.clone()), "replica sets"),
        list::<StatefulSet>(Api::all(client.clone()), "stateful sets"),
    )?;
    Ok(Observed {
        nodes,
        leases,
        pods,
        replica_sets,
        stateful_sets,
    })
}

/// Lists from the API server's watch cache. It may be a little behind, so what is newer than the boot is
/// never believed too early, only too late.
async fn list<K>(api: Api<K>, what: &str) -> Result<Vec<K>, ApiError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let answer = api.list(&ListParams::default().match_any()).await;
    Ok(answer.map_err(ApiError::new(format!("list {what}")))?.items)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::failed_checks;

    #[test]
    fn names_the_failed_checks() {
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
