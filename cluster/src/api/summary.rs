//! The nodes and pods of a cluster, as `parbake status` shows them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ContainerState, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};

use super::objects::NODE_LEASES;
use super::response::request_failed;
use crate::error::Error;

/// The default of `--node-monitor-grace-period`. The lease is checked here as well, because the node lifecycle controller may
/// itself be down.
const GRACE: SignedDuration = SignedDuration::from_secs(40);
const ROLE_LABEL: &str = "node-role.kubernetes.io/";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Sorted by name.
    pub nodes: Vec<NodeSummary>,
    /// Sorted by namespace and name.
    pub pods: Vec<PodSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    pub name: String,
    /// True if its Ready condition holds and its lease was renewed within the last 40 s.
    pub ready: bool,
    pub roles: Vec<String>,
    /// The kubelet's version.
    pub version: String,
    /// Its `InternalIP`; empty if it has none yet.
    pub address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSummary {
    pub namespace: String,
    pub name: String,
    /// The number of ready containers.
    pub ready: usize,
    pub containers: usize,
    /// Its phase, or what keeps it from running: `CrashLoopBackOff`, `Terminating`, ...
    pub state: String,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// The sum over its containers.
    pub restarts: i32,
    pub age_seconds: i64,
}

/// Lists the nodes and pods.
///
/// # Errors
/// A request failed.
pub async fn fetch(client: &Client) -> Result<Summary, Error> {
    let all = ListParams::default();
    let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::all(client.clone()));
    let leases: Api<Lease> = Api::namespaced(client.clone(), NODE_LEASES);
    let (nodes, leases, pods) = tokio::try_join!(nodes.list(&all), leases.list(&all), pods.list(&all))
        .map_err(request_failed("list nodes and pods"))?;
    Ok(summarise(
        &nodes.items,
        &leases.items,
        &pods.items,
        Timestamp::now(),
    ))
}

fn summarise(nodes: &[Node], leases: &[Lease], pods: &[Pod], now: Timestamp) -> Summary {
    let mut nodes: Vec<NodeSummary> = nodes.iter().map(|node| node_summary(node, leases, now)).collect();
    let mut pods: Vec<PodSummary> = pods.iter().map(|pod| pod_summary(pod, now)).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    pods.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Summary { nodes, pods }
}

fn node_summary(node: &Node, leases: &[Lease], now: Timestamp) -> NodeSummary {
    let status = node.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let has_ready_condition = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let lease = leases.iter().find(|lease| lease.name_any() == node.name_any());
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    let addresses = status
        .and_then(|status| status.addresses.as_deref())
        .unwrap_or_default();
    let address = addresses.iter().find(|address| address.type_ == "InternalIP");
    NodeSummary {
        name: node.name_any(),
        ready: has_ready_condition && renewed.is_some_and(|time| now.duration_since(time) < GRACE),
        roles: node
            .labels()
            .keys()
            .filter_map(|label| label.strip_prefix(ROLE_LABEL))
            .map(str::to_owned)
            .collect(),
        version: status
            .and_then(|status| Some(status.node_info.as_ref()?.kubelet_version.clone()))
            .unwrap_or_default(),
        address: address.map(|address| address.address.clone()).unwrap_or_default(),
    }
}

fn pod_summary(pod: &Pod, now: Timestamp) -> PodSummary {
    let spec = pod.spec.as_ref();
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    PodSummary {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        ready: statuses.iter().filter(|status| status.ready).count(),
        containers: spec.map(|spec| spec.containers.len()).unwrap_or_default(),
        state: pod_state(pod),
        node: spec.and_then(|spec| spec.node_name.clone()),
        restarts: statuses.iter().map(|status| status.restart_count).sum(),
        age_seconds: age_seconds(&pod.metadata, now),
    }
}

/// The state of a pod as `kubectl get pods` prints it: what keeps it from running, or its phase.
pub(crate) fn pod_state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let status = pod.status.as_ref();
    let init = status
        .and_then(|status| status.init_container_statuses.as_deref())
        .unwrap_or_default();
    let main = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let reason = |state: &ContainerState| match (&state.waiting, &state.terminated) {
        // Containers wait with this reason while init containers run.
        (Some(waiting), _) => waiting
            .reason
            .clone()
            .filter(|reason| reason != "PodInitializing"),
        (_, Some(end)) if end.exit_code != 0 => end.reason.clone(),
        _ => None,
    };
    let reasons = |statuses: &[k8s_openapi::api::core::v1::ContainerStatus]| {
        statuses.iter().find_map(|status| reason(status.state.as_ref()?))
    };
    let init = reasons(init).map(|reason| format!("Init:{reason}"));
    let own = || status.and_then(|status| status.reason.clone().or_else(|| status.phase.clone()));
    init.or_else(|| reasons(main))
        .or_else(own)
        .unwrap_or_else(|| "Unknown".to_owned())
}

fn age_seconds(meta: &ObjectMeta, now: Timestamp) -> i64 {
    meta.creation_timestamp
        .as_ref()
        .map(|time| now.duration_since(time.0).as_secs())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{NodeSummary, PodSummary, Summary, summarise};

    fn summary(nodes: Value, leases: Value, pods: Value) -> Summary {
        let [nodes, leases, pods] = [nodes, leases, pods].map(|list| list.to_string());
        summarise(
            &serde_json::from_str::<Vec<_>>(&nodes).unwrap(),
            &serde_json::from_str::<Vec<_>>(&leases).unwrap(),
            &serde_json::from_str::<Vec<_>>(&pods).unwrap(),
            "2026-03-01T10:01:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn node_without_a_recent_lease_is_not_ready() {
        let nodes = json!([{
            "metadata": {"name": "node01", "labels": {"node-role.kubernetes.io/control-plane": "", "x": "y"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "node01"},
                              {"type": "InternalIP", "address": "10.89.0.11"}],
                "nodeInfo": {"kubeletVersion": "v1.34.4", "architecture": "", "bootID": "", "machineID": "",
                    "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "operatingSystem": "", "osImage": "", "systemUUID": ""}
            }
        }]);
        for (renewed, ready) in [("2026-03-01T10:00:50Z", true), ("2026-03-01T10:00:10Z", false)] {
            let leases = json!([{"metadata": {"name": "node01"}, "spec": {"renewTime": renewed}}]);
            let expected = NodeSummary {
                name: "node01".into(),
                ready,
                roles: vec!["control-plane".into()],
                version: "v1.34.4".into(),
                address: "10.89.0.11".into(),
            };
            assert_eq!(summary(nodes.clone(), leases, json!([])).nodes, [expected]);
        }
        assert!(!summary(nodes, json!([]), json!([])).nodes[0].ready);
    }

    #[test]
    fn pod_state_names_what_keeps_it_from_running() {
        let pod = |state: Value| {
            json!([{
                "metadata": {"namespace": "a", "name": "b", "creationTimestamp": "2026-03-01T10:00:00Z"},
                "spec": {"nodeName": "node01", "containers": [{"name": "c"}, {"name": "d"}]},
                "status": {"phase": "Running", "containerStatuses": [
                    {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": {}},
                    {"name": "d", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state}]}
            }])
        };
        let cases = [
            (json!({"running": {}}), "Running"),
            (
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                "CrashLoopBackOff",
            ),
            (json!({"waiting": {"reason": "PodInitializing"}}), "Running"),
            (json!({"terminated": {"exitCode": 1, "reason": "Error"}}), "Error"),
        ];
        for (state, expected) in cases {
            let expected = PodSummary {
                namespace: "a".into(),
                name: "b".into(),
                ready: 1,
                containers: 2,
                state: expected.into(),
                node: Some("node01".into()),
                restarts: 3,
                age_seconds: 60,
            };
            assert_eq!(summary(json!([]), json!([]), pod(state)).pods, [expected]);
        }
        let mut leaving = pod(json!({}));
        leaving[0]["metadata"]["deletionTimestamp"] = json!("2026-03-01T10:00:30Z");
        assert_eq!(
            summary(json!([]), json!([]), leaving).pods[0].state,
            "Terminating"
        );
    }
}
