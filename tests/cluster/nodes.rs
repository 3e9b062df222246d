//! Nodes join a running cluster and leave it.

use std::fs;
use std::time::Duration;

use parbake_machine::supervisor::Running;
use serde_json::json;

use crate::fixtures::LIFE_NODE;

use parbake_test_support::events;
use parbake_test_support::place::{Outcome, Place, check, eventually};
use parbake_test_support::workload::etcd_image;

const MANIFEST: &str = include_str!("nodes.yaml");
/// A disruption budget that allows no eviction, and a pod without a controller.
const HELD: &str = r#"
{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "answer"},
 "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "answer"}}}}
---
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": {"nodeName": "node04",
 "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none", "imagePullPolicy": "Never"}]}}
"#;
/// The cluster of the module `life`: one node of an artifact with three.
const NAME: &str = "life";
/// Its next node.
const NODE: &str = "node04";

fn on(place: &Place, cluster: &str, words: &[&str]) -> Result<String, String> {
    place.run(&[&["--name", cluster], words].concat())
}

fn machines(place: &Place, cluster: &str) -> Result<Vec<String>, String> {
    let dir = place.dir().join("clusters").join(cluster).join("machines");
    let entries = fs::read_dir(dir).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Deploys a service with a pod on `node` and calls it by name from `caller`, a pod with a shell on another node.
pub(crate) fn serves(place: &Place, cluster: &str, node: &str, caller: &str) -> Outcome {
    let image = etcd_image(place, cluster)?;
    let manifest = MANIFEST.replace("@IMAGE@", &image).replace("@NODE@", node);
    place.feed(&["--name", cluster, "kubectl", "apply", "-f", "-"], &manifest)?;
    let rollout = [
        "kubectl",
        "rollout",
        "status",
        "deployment/answer",
        "--timeout=60s",
    ];
    on(place, cluster, &rollout)?;
    answers(place, cluster, node, caller)
}

/// Calls the service, whose pod is on `node`, from `caller`.
pub(crate) fn answers(place: &Place, cluster: &str, node: &str, caller: &str) -> Outcome {
    let query = "jsonpath={.items[*].spec.nodeName}";
    let found = on(
        place,
        cluster,
        &["kubectl", "get", "pods", "-l", "app=answer", "-o", query],
    )?;
    check(found == node, || format!("the pod is on {found}, not on {node}"))?;
    let call = "read -r name < /dev/tcp/answer.default.svc.cluster.local/80; echo $name";
    eventually("the service to answer", Duration::from_secs(15), || {
        let name = on(
            place,
            cluster,
            &["kubectl", "exec", caller, "--", "/usr/bin/bash", "-euc", call],
        )?;
        check(name.starts_with("answer-"), || name.clone())
    })
}

/// No bootstrap token is left.
pub(crate) fn no_token(place: &Place, cluster: &str) -> Outcome {
    let tokens = on(
        place,
        cluster,
        &[
            "kubectl",
            "get",
            "secrets",
            "-A",
            "--field-selector=type=bootstrap.kubernetes.io/token",
            "-o",
            "name",
        ],
    )?;
    check(tokens.is_empty(), || tokens.clone())
}

pub(crate) fn added(place: &Place) -> Outcome {
    let refused = |words: &[&str], message: &str| {
        place.refused(&[&["--name", NAME, "node"], words].concat(), &[message])
    };
    refused(&["remove", "node01"], "node `node01` holds the control plane")?;
    refused(
        &["remove", "node09"],
        "there is no node `node09`; the nodes are node01",
    )?;
    refused(&["add", "--count", "300"], "has no room for node `node245`")?;
    // A killed `node add` leaves the cluster unchanged; the next command cleans up.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = now.map_err(|error| error.to_string())?.subsec_millis() % 2000;
    let time = Duration::from_millis(100 + u64::from(random));
    let ends_with_events = |problem: String| format!("killed after {time:?}: {problem}");
    place
        .kill_after(&["node", "add", "--name", NAME], time)
        .map_err(ends_with_events)?;
    let report = place
        .json(&["node", "add", "--name", NAME])
        .map_err(ends_with_events)?;
    check(report["nodes"] == json!([NODE]), || {
        ends_with_events(report.to_string())
    })?;
    let found = machines(place, NAME)?;
    check(found == ["node01", NODE], || {
        ends_with_events(format!("{found:?}"))
    })?;
    no_token(place, NAME)?;
    let listed = place.json(&["node", "list", "--name", NAME])?;
    let node = &listed[1];
    let sound = node["name"] == NODE
        && node["ready"] == true
        && node["origin"] == "joined"
        && node["address"] == "10.89.0.14";
    check(
        sound && listed[0]["origin"] == "baked" && listed[2].is_null(),
        || format!("{listed}"),
    )?;
    // The API knows the pod network that the routes lead to, and the kubelet has the cluster's configuration.
    let query = "jsonpath={.spec.podCIDR} {.status.allocatable.pods}";
    let pods = on(place, NAME, &["kubectl", "get", "node", NODE, "-o", query])?;
    let expected = format!("{} 90", node["pods"].as_str().unwrap_or_default());
    check(pods == expected, || format!("{node} has {pods}"))?;
    // Each node has the other's name, once.
    for (from, to) in [("node01", NODE), (NODE, "node01")] {
        let line = format!("grep -cw {to} /etc/hosts; bash -c '> /dev/tcp/{to}/10250'");
        let found = on(place, NAME, &["exec", from, "--", "sh", "-euc", &line])?;
        check(found == "1\n", || format!("{from} has {to} {found} times"))?;
    }
    events::ends_with_events(place, NAME, &["nodes-added"])?;
    serves(place, NAME, NODE, "store-0")
}

/// The cluster, with its added node, was stopped, started and killed before.
pub(crate) fn removed(place: &Place) -> Outcome {
    answers(place, NAME, NODE, "store-0")?;
    place.feed(&["--name", NAME, "kubectl", "apply", "-f", "-"], HELD)?;
    let remove = ["node", "remove", NODE, "--name", NAME, "--wait", "2s"];
    place.refused(
        &remove,
        &["no controller would recreate `default/loose`", "--force"],
    )?;
    on(
        place,
        NAME,
        &["kubectl", "delete", "pod", "loose", "--grace-period=1"],
    )?;
    let message = [
        "waiting for the pods of node `node04` to leave",
        "disruption budget",
    ];
    place.refused(&remove, &message)?;
    let query = "jsonpath={.spec.unschedulable}";
    let closed = on(place, NAME, &["kubectl", "get", "node", NODE, "-o", query])?;
    check(closed.is_empty(), || "it takes no pods any more".to_owned())?;
    on(
        place,
        NAME,
        &["kubectl", "delete", "poddisruptionbudget", "answer"],
    )?;
    place.run(&["node", "remove", NODE, "--name", NAME])?;
    events::ends_with_events(place, NAME, &["node-removed"])?;

    let nodes = on(place, NAME, &["kubectl", "get", "nodes", "-o", "name"])?;
    check(nodes == "node/node01\n", || nodes.clone())?;
    let found = machines(place, NAME)?;
    check(found == ["node01"], || format!("{found:?}"))?;
    let known = "! grep node04 /etc/hosts; ip route; ip neighbour";
    let known = on(place, NAME, &["exec", "node01", "--", "sh", "-euc", known])?;
    check(!known.contains("10.89.0.14"), || known.clone())?;
    let running =
        Running::find(&place.dir().join("clusters").join(NAME)).map_err(|error| error.to_string())?;
    let state = running.ok_or("the cluster does not run")?.state().clone();
    let left = state.cgroup.child(NODE);
    check(left.processes().is_empty() && left.usage().is_err(), || {
        "its cgroup is left".to_owned()
    })?;
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", state.supervisor.pid));
    let mounts = mounts.map_err(|error| error.to_string())?;
    check(mounts.contains("node01") && !mounts.contains(NODE), || {
        mounts.clone()
    })?;
    // Its pod has moved.
    on(
        place,
        NAME,
        &[
            "kubectl",
            "rollout",
            "status",
            "deployment/answer",
            "--timeout=60s",
        ],
    )?;
    on(
        place,
        NAME,
        &["kubectl", "delete", "deployment,service", "answer"],
    )?;
    place.removed(&[&LIFE_NODE])
}
