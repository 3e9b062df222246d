//! Every kind of program is swapped in a running cluster, which is then stopped, started, frozen and thawed.

use std::path::Path;

use serde_json::Value;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check};
use parbake_test_support::swap::{BAKED, OTHER, baked, changed, reported};

const NAME: &str = "swapped";
const COPY: &str = "swapped-copy";
/// Programs with images of their own.
const IN_IMAGES: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
];

fn in_image(name: &str) -> (String, String) {
    let path = format!("var/lib/parbake/images/{name}/0/usr/local/bin/{name}");
    (format!("image/{name}"), path)
}

fn given(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

pub(crate) fn all(place: &Place) -> Outcome {
    place.run(&["up", PROVIDER, "--nodes", "2", "--name", NAME])?;
    let mut words = vec!["swap".to_owned(), "--name".to_owned(), NAME.to_owned()];
    for name in IN_IMAGES {
        let (title, path) = in_image(name);
        words.push(given(name, &changed(place, &title, &path)?));
    }
    words.push(given("kubelet", &changed(place, "kubelet", "usr/bin/kubelet")?));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let report = place.json(&[&words[..], &["--wait", "300s"]].concat())?;
    let found = report["swapped"].as_array().map(Vec::len);
    check(found == Some(5), || report.to_string())?;
    println!("swapped after {} s", report["seconds"]);
    at_work(place, NAME)?;
    broken_api_server(place)?;
    at_work(place, NAME)?;
    place.run(&["stop", "--name", NAME])?;
    place.run(&["start", "--name", NAME])?;
    at_work(place, NAME)?;
    place.run(&["freeze", NAME, "--name", NAME])?;
    place.run(&["down", "--name", NAME])?;
    place.run(&["up", NAME, "--name", COPY])?;
    at_work(place, COPY)?;
    place.run(&["down", "--name", COPY])?;
    place.run(&["artifact", "remove", NAME]).map(drop)
}

/// A scheduler is not accepted as an API server.
fn broken_api_server(place: &Place) -> Outcome {
    let (title, path) = in_image("kube-scheduler");
    let file = given("kube-apiserver", &baked(place, &title, &path)?);
    let words = ["swap", &file, "--name", NAME, "--wait", "40s"];
    place.refused(&words, &["gave up after", "the former programs are restored"])
}

/// All programs report the other version, and the cluster works.
fn at_work(place: &Place, cluster: &str) -> Outcome {
    let kubectl = |words: &[&str]| place.run(&[&["kubectl", "--name", cluster], words].concat());
    let server: Value =
        serde_json::from_str(&kubectl(&["get", "--raw", "/version"])?).map_err(|error| error.to_string())?;
    check(server["gitVersion"] == OTHER, || server.to_string())?;
    for node in ["node01", "node02"] {
        let kubelet = reported(place, cluster, node)?;
        check(kubelet == OTHER, || format!("{node}: {kubelet}"))?;
    }
    let query = "jsonpath={range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}";
    let images = kubectl(&["get", "pods", "-n", "kube-system", "-o", query])?;
    for name in IN_IMAGES {
        let swapped = format!("{name}:{BAKED}-swap.");
        check(images.contains(&swapped), || format!("no {swapped} in {images}"))?;
    }
    kubectl(&[
        "wait",
        "pods",
        "-n",
        "kube-system",
        "--all",
        "--for=condition=Ready",
        "--timeout=60s",
    ])
    .map(drop)
}
