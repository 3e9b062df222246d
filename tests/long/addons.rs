//! The add-ons of `manifests/` are baked in and work.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use parbake_test_support::access::tool;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// The provider with the newest Kubernetes.
const NEWEST: &str = "k8s-1.36";
/// The tag and the cluster.
const NAME: &str = "addons";
/// The artifact of a cluster with simulated pods.
const AGAIN: &str = "addons-again";
/// The simulated node of `manifests/kwok`.
const FAKE: &str = "fake01";
/// A private CA and a certificate from it.
const CERTIFICATES: &str = include_str!("certificates.yaml");
/// A web server from an image that the cluster has, and an ingress for it.
const INGRESS: &str = include_str!("ingress.yaml");
/// Pods for simulated nodes only, with an image that does not exist.
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

pub(crate) fn baked(place: &Place) -> Outcome {
    bake(place, PROVIDER)
}

/// The same on the newest Kubernetes.
pub(crate) fn newest(place: &Place) -> Outcome {
    bake(place, NEWEST)?;
    metrics_server(place)?;
    traefik(place)?;
    prometheus(place)?;
    cert_manager(place)?;
    kwok(place)
}

/// All add-ons in one bake, on one node.
fn bake(place: &Place, provider: &str) -> Outcome {
    let words = [
        "provision",
        provider,
        "--source",
        "modules",
        "--nodes",
        "1",
        "--tag",
        NAME,
    ];
    let addons = ["metrics-server", "traefik", "prometheus", "cert-manager", "kwok"];
    let addons = addons.iter().flat_map(|name| ["--addon", *name]);
    place.run(&words.into_iter().chain(addons).collect::<Vec<_>>())?;
    place.run(&["up", NAME, "--name", NAME]).map(drop)
}

/// `up` has waited, so metrics are there.
pub(crate) fn metrics_server(place: &Place) -> Outcome {
    let nodes = kubectl(place, NAME, &["top", "nodes", "--no-headers"])?;
    let node = nodes.lines().find(|line| line.starts_with("node01"));
    let columns: Vec<&str> = node.unwrap_or_default().split_whitespace().collect();
    check(columns.len() == 5 && columns[1].ends_with('m'), || nodes.clone())?;
    let memory = columns[3].trim_end_matches("Mi").parse::<u64>();
    check(memory.is_ok_and(|memory| memory > 0), || nodes.clone())?;
    // A pod's first metrics need two scrapes.
    eventually("numbers of pods", Duration::from_secs(30), || {
        let pods = kubectl(place, NAME, &["top", "pods", "-n", "kube-system", "--no-headers"])?;
        check(pods.contains("kube-apiserver-node01"), || pods.clone())
    })?;
    record_tested(place, NAME, &["add-on metrics-server"])
}

/// An ingress answers at the node's port, and another host name does not.
pub(crate) fn traefik(place: &Place) -> Outcome {
    place.feed(&["kubectl", "--name", NAME, "apply", "-f", "-"], INGRESS)?;
    let rolled_out = ["rollout", "status", "deployment/answer", "--timeout=60s"];
    kubectl(place, NAME, &rolled_out)?;
    let ask = |host: &str| {
        let request = format!("GET /page HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n");
        let command = format!("printf '{request}' | socat -t 5 - TCP:10.89.0.11:30080");
        place.run(&["exec", "--name", NAME, "node01", "--", "sh", "-euc", &command])
    };
    eventually("the ingress to answer", Duration::from_secs(30), || {
        let answer = ask("answer.test")?;
        check(
            answer.contains(" 200 OK") && answer.ends_with("\nanswered\n"),
            || answer.clone(),
        )
    })?;
    let other = ask("other.test")?;
    check(other.contains(" 404 Not Found"), || other.clone())?;
    record_tested(place, NAME, &["add-on traefik"])
}

/// All targets are up, and container metrics exist.
pub(crate) fn prometheus(place: &Place) -> Outcome {
    let ask = |query: &str| {
        let service = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy";
        let path = format!("{service}/api/v1/query?query={query}");
        let answer = kubectl(place, NAME, &["get", "--raw", &path])?;
        serde_json::from_str::<Value>(&answer).map_err(|error| format!("{error} in {answer}"))
    };
    eventually("all to be up", Duration::from_secs(60), || {
        let answer = ask("up")?;
        let results = answer["data"]["result"].as_array().into_iter().flatten();
        let up: BTreeSet<&str> = results
            .filter(|result| result["value"][1] == "1")
            .filter_map(|result| result["metric"]["job"].as_str())
            .collect();
        let all = BTreeSet::from(["apiserver", "containers", "kubelet"]);
        check(up == all, || format!("{answer}"))
    })?;
    let query = "container_memory_working_set_bytes%7Bpod%3D%22etcd-node01%22%2Ccontainer%3D%22etcd%22%7D";
    eventually("numbers of a container", Duration::from_secs(30), || {
        let answer = ask(query)?;
        let bytes = answer["data"]["result"][0]["value"][1].as_str();
        let bytes = bytes.and_then(|bytes| bytes.parse::<u64>().ok());
        check(bytes > Some(1 << 20), || format!("{answer}"))
    })?;
    record_tested(place, NAME, &["add-on prometheus"])
}

/// A CA certificate and a certificate from it are issued; the artifact contained no secret.
pub(crate) fn cert_manager(place: &Place) -> Outcome {
    let secrets = kubectl(
        place,
        NAME,
        &["get", "secrets", "-n", "cert-manager", "-o", "name"],
    )?;
    check(secrets.trim().is_empty(), || secrets.clone())?;
    place.feed(&["kubectl", "--name", NAME, "apply", "-f", "-"], CERTIFICATES)?;
    let ready = [
        "wait",
        "certificate/leaf",
        "--for=condition=Ready",
        "--timeout=60s",
    ];
    kubectl(place, NAME, &ready)?;
    let file = |secret: &str, key: &str| {
        let query = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        let text = kubectl(place, NAME, &["get", "secret", secret, "-o", &query])?;
        let path = place.dir().join(format!("{secret}-{key}"));
        fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok::<_, String>(path.display().to_string())
    };
    let (authority, leaf) = (file("authority", "tls.crt")?, file("leaf", "tls.crt")?);
    let verify = [
        "openssl",
        "verify",
        "-CAfile",
        &authority,
        "-verify_hostname",
        "leaf.test",
        &leaf,
    ];
    tool(&verify, place.dir())?;
    record_tested(place, NAME, &["add-on cert-manager"])
}

/// The simulated node is ready after a thaw, and again after a freeze with simulated pods.
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
    record_tested(place, NAME, &["add-on kwok"])?;
    place.run(&["artifact", "remove", AGAIN])?;
    place.run(&["artifact", "remove", NAME]).map(drop)
}

/// The lease was renewed after the thaw.
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
