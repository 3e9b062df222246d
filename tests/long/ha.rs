//! Three control planes, of which one may fail.

use std::time::Duration;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// The name of the artifact and of the cluster.
const NAME: &str = "ha";

/// Bakes and thaws three control planes, kills the first, keeps working, and starts all of them again.
pub(crate) fn one_of_three_dies(place: &Place) -> Outcome {
    place.run(&["provision", PROVIDER, "--control-planes", "3", "--tag", NAME])?;
    let report = place.json(&["up", NAME, "--name", NAME])?;
    check(report["nodes"] == 3, || format!("{report}"))?;
    let outcome = dies(place);
    place.run(&["down", "--name", NAME])?;
    outcome?;
    record_tested(place, NAME, &["bake", "thaw", "three control planes"])?;
    place.run(&["artifact", "remove", NAME]).map(drop)
}

fn dies(place: &Place) -> Outcome {
    members(place)?;
    kill(place, "node01")?;
    // The kubeconfig's address leads to the others. etcd may have lost its leader, which makes a request fail.
    eventually("a write without the first node", Duration::from_secs(30), || {
        kubectl(place, &["create", "namespace", "after"]).map(|_| ())
    })?;
    let image = "registry.k8s.io/pause:3.10.1";
    let pinned = r#"{"spec": {"nodeName": "node03"}}"#;
    kubectl(
        place,
        &["create", "deployment", "web", "--image", image, "--replicas", "2"],
    )?;
    // The first node's kubelet is gone, but that is unknown until its lease expires.
    kubectl(place, &["run", "pinned", "--image", image, "--overrides", pinned])?;
    kubectl(
        place,
        &["wait", "--for=condition=Ready", "pod/pinned", "--timeout=60s"],
    )?;
    // A new leader creates the pods.
    eventually("pods of the deployment", Duration::from_secs(60), || {
        let pods = kubectl(place, &["get", "pods", "-l", "app=web", "-o", "name"])?;
        check(pods.lines().count() == 2, || pods.clone())
    })?;
    place.run(&["restart", "--name", NAME])?;
    kubectl(place, &["get", "namespace", "after"])?;
    kubectl(
        place,
        &["rollout", "status", "deployment", "web", "--timeout=60s"],
    )?;
    members(place)
}

fn kubectl(place: &Place, words: &[&str]) -> Result<String, String> {
    place.run(&[&["--name", NAME, "kubectl"], words].concat())
}

/// All three etcd members are healthy.
fn members(place: &Place) -> Outcome {
    let line = "etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/server.crt \
                --key=/etc/kubernetes/pki/etcd/server.key --endpoints=https://127.0.0.1:2379 \
                endpoint health --cluster 2>&1";
    let healthy = place.run(&["--name", NAME, "ssh", "node02", "--", "sh", "-c", line])?;
    check(healthy.matches("is healthy").count() == 3, || healthy.clone())
}

/// Kills the machine's init process, and with it all others.
fn kill(place: &Place, node: &str) -> Outcome {
    let path = place.dir().join("clusters").join(NAME).join("supervisor.json");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let state: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let pid = state["machines"][node]["pid"].to_string();
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    check(killed.is_ok_and(|status| status.success()), || {
        format!("no process {pid}")
    })
}
