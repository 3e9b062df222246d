//! Programs of a running cluster are replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::events::ends_with_events;
use crate::place::{Outcome, Place, check};
use crate::variant::Variant;

/// The baked version, and another one of the same length.
pub const BAKED: &str = "v1.34.4";
pub const OTHER: &str = "v1.34.9";
/// The cluster of the module `life`, with one baked node and one that joined.
const NAME: &str = "life";
const NODE: &str = "node01";

/// A copy of the file `path` in the layer `title` that reports the other version.
pub fn changed(place: &Place, title: &str, path: &str) -> Result<PathBuf, String> {
    let mut bytes = fs::read(baked(place, title, path)?).map_err(|error| error.to_string())?;
    let found: Vec<usize> = memchr(&bytes, BAKED.as_bytes());
    check(!found.is_empty(), || format!("`{title}` has no {BAKED} in it"))?;
    for at in found {
        bytes[at..at + OTHER.len()].copy_from_slice(OTHER.as_bytes());
    }
    let name = Path::new(path).file_name().ok_or("no name")?;
    let file = place.dir().join(name);
    fs::write(&file, bytes).map_err(|error| error.to_string())?;
    Ok(file)
}

fn memchr(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let starts = bytes.windows(text.len()).enumerate();
    starts
        .filter(|(_, window)| *window == text)
        .map(|(at, _)| at)
        .collect()
}

/// The baked file `path` in the layer `title`.
pub fn baked(place: &Place, title: &str, path: &str) -> Result<PathBuf, String> {
    Variant::from_baked(place)?.file(title, path)
}

/// The kubelet version of a node, as the API reports it.
pub fn reported(place: &Place, cluster: &str, node: &str) -> Result<String, String> {
    let query = "jsonpath={.status.nodeInfo.kubeletVersion}";
    place.run(&["kubectl", "--name", cluster, "get", "node", node, "-o", query])
}

fn given(name: &str, file: &Path) -> String {
    format!("{name}={}", file.display())
}

pub fn kubelet(place: &Place) -> Outcome {
    let file = changed(place, "kubelet", "usr/bin/kubelet")?;
    let script = place.dir().join("script");
    fs::write(&script, "#!/bin/sh").map_err(|error| error.to_string())?;
    let swap = |words: &[&str]| -> Vec<String> {
        let all = [&["swap", "--name", NAME], words].concat();
        all.iter().map(|word| (*word).to_owned()).collect()
    };
    let refused = |words: &[&str], message: &str| {
        let words = swap(words);
        place.refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[message])
    };
    let kubelet = given("kubelet", &file);
    refused(
        &[&given("kubelet", &script)],
        "cannot run on the nodes: it is not an executable",
    )?;
    fs::remove_file(&script).map_err(|error| error.to_string())?;
    refused(
        &[&given("cubelet", &file)],
        "the cluster has no program `cubelet`",
    )?;
    refused(&[&kubelet, "--node", "node09"], "there is no node `node09`")?;
    refused(&[&given("coredns", &file), "--node", NODE], "leave `--node` out")?;
    // A program that is not a kubelet does not report a version.
    let kubectl = baked(place, "kubectl", "usr/bin/kubectl")?;
    refused(&[&given("kubelet", &kubectl)], "does not run on `node01`")?;
    check(reported(place, NAME, NODE)? == BAKED, || {
        "something was changed".to_owned()
    })?;

    let report = place.json(&["swap", &kubelet, "--node", NODE, "--name", NAME])?;
    let one = &report["swapped"][0];
    check(
        one["version"] == OTHER && one["nodes"] == serde_json::json!([NODE]),
        || format!("{report}"),
    )?;
    ends_with_events(place, NAME, &["swapped"])?;
    at_work(place)?;
    let again = place.json(&["swap", &kubelet, "--node", NODE, "--name", NAME])?;
    check(again["unchanged"] == serde_json::json!(["kubelet"]), || {
        format!("{again}")
    })?;
    fs::remove_file(file).map_err(|error| error.to_string())
}

/// The swapped kubelet is in use.
pub fn at_work(place: &Place) -> Outcome {
    let found = reported(place, NAME, NODE)?;
    check(found == OTHER, || format!("the kubelet reports {found}"))?;
    let status: Value = place.json(&["status", "--name", NAME])?;
    check(status["swapped"][0]["program"] == "kubelet", || {
        format!("{status}")
    })?;
    // The shared layers are unchanged.
    let bytes = fs::read(baked(place, "kubelet", "usr/bin/kubelet")?).map_err(|error| error.to_string())?;
    check(!memchr(&bytes, BAKED.as_bytes()).is_empty(), || {
        "a layer was changed".to_owned()
    })
}

/// A swap to a program that exits is rolled back, and the next swap cleans up after a killed one.
pub fn failed(place: &Place) -> Outcome {
    let path = "var/lib/parbake/images/kube-proxy/0/usr/local/bin/kube-proxy";
    let proxy = given("kubelet", &baked(place, "image/kube-proxy", path)?);
    // kube-proxy accepts `--version`, but no other flag of a kubelet.
    let words = ["swap", &proxy, "--node", NODE, "--name", NAME];
    let killed = [words.as_slice(), &["--wait", "60s"]].concat();
    place.kill_after(&killed, Duration::from_secs(5))?;
    let words = [words.as_slice(), &["--wait", "5s"]].concat();
    place.refused(&words, &["gave up after", "the former programs are restored"])?;
    at_work(place)?;
    let left = place.run(&["exec", NODE, "--name", NAME, "--", "ls", "/var/lib/parbake"])?;
    check(!left.contains("swap"), || left.clone())
}
