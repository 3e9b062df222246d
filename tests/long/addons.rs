//! The add-ons of `manifests/`, baked in and used.

use std::time::Duration;

use crate::harness::{Outcome, PROVIDER, Place, check, eventually};

/// The tag, and the cluster.
const NAME: &str = "addons";
/// What has fake pods in it, frozen and thawed again.
const AGAIN: &str = "addons-again";
/// The fake node of `manifests/kwok`.
const FAKE: &str = "fake01";
/// Pods that only a fake node takes, of an image that is nowhere.
const PODS: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: { name: fakes }
spec:
  replicas: 20
  selector: { matchLabels: { app: fakes } }
  template:
    metadata: { labels: { app: fakes } }
    spec:
      nodeSelector: { type: kwok }
      tolerations: [{ key: kwok.x-k8s.io/node, operator: Exists }]
      containers: [{ name: app, image: "fake.test/nothing:v1" }]
"#;

fn kubectl(place: &Place, cluster: &str, words: &[&str]) -> Result<String, String> {
    place.run(&[&["kubectl", "--name", cluster], words].concat())
}

/// All together on one node, so that one bake serves.
pub(crate) fn baked(place: &Place) -> Outcome {
    let words = [
        "provision",
        PROVIDER,
        "--source",
        "modules",
        "--nodes",
        "1",
        "--tag",
        NAME,
    ];
    let addons = ["--addon", "metrics-server", "--addon", "kwok"];
    place.run(&[&words[..], &addons].concat())?;
    place.run(&["up", NAME, "--name", NAME]).map(drop)
}

/// Ready is ready: the numbers are there at once.
pub(crate) fn metrics_server(place: &Place) -> Outcome {
    let nodes = kubectl(place, NAME, &["top", "nodes", "--no-headers"])?;
    let node = nodes.lines().find(|line| line.starts_with("node01"));
    let columns: Vec<&str> = node.unwrap_or_default().split_whitespace().collect();
    check(columns.len() == 5 && columns[1].ends_with('m'), || nodes.clone())?;
    let memory = columns[3].trim_end_matches("Mi").parse::<u64>();
    check(memory.is_ok_and(|memory| memory > 0), || nodes.clone())?;
    // A pod's first numbers come with the second look at it.
    eventually("numbers of pods", Duration::from_secs(30), || {
        let pods = kubectl(place, NAME, &["top", "pods", "-n", "kube-system", "--no-headers"])?;
        check(pods.contains("kube-apiserver-node01"), || pods.clone())
    })
}

/// The fake node is ready after a thaw, and after another of a cluster that has fake pods.
pub(crate) fn kwok(place: &Place) -> Outcome {
    fake_node(place, NAME)?;
    place.feed(&["kubectl", "--name", NAME, "apply", "-f", "-"], PODS)?;
    fake_pods(place, NAME)?;
    place.run(&["freeze", AGAIN, "--name", NAME])?;
    place.run(&["down", "--name", NAME])?;
    place.run(&["up", AGAIN, "--name", AGAIN])?;
    fake_node(place, AGAIN)?;
    fake_pods(place, AGAIN)?;
    let nodes = place.run(&["node", "list", "--name", AGAIN])?;
    check(nodes.contains("node01") && !nodes.contains(FAKE), || {
        nodes.clone()
    })?;
    place.run(&["down", "--name", AGAIN])?;
    place.run(&["artifact", "remove", AGAIN])?;
    place.run(&["artifact", "remove", NAME]).map(drop)
}

/// The lease says that somebody keeps the node alive now, whatever was frozen.
fn fake_node(place: &Place, cluster: &str) -> Outcome {
    let renewed = [
        "get",
        "lease",
        "-n",
        "kube-node-lease",
        FAKE,
        "-o",
        "jsonpath={.spec.renewTime}",
    ];
    let before = kubectl(place, cluster, &renewed)?;
    eventually("the fake node's lease", Duration::from_secs(60), || {
        let now = kubectl(place, cluster, &renewed)?;
        check(now != before, || format!("still renewed at {before}"))
    })?;
    let node = format!("node/{FAKE}");
    kubectl(
        place,
        cluster,
        &["wait", &node, "--for=condition=Ready", "--timeout=30s"],
    )
    .map(drop)
}

fn fake_pods(place: &Place, cluster: &str) -> Outcome {
    kubectl(
        place,
        cluster,
        &["rollout", "status", "deployment/fakes", "--timeout=60s"],
    )?;
    let query = "jsonpath={range .items[*]}{.spec.nodeName} {.status.phase}{\"\\n\"}{end}";
    let pods = kubectl(place, cluster, &["get", "pods", "-l", "app=fakes", "-o", query])?;
    let running = pods.lines().filter(|line| *line == format!("{FAKE} Running"));
    check(running.count() == 20, || pods.clone())
}
