//! Clusters start and are removed.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::fixtures::{THREE_NODES, WEB};
use parbake_test_support::access;
use parbake_test_support::isolation;
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// What parbake had on the host before the clusters that `down` removes.
static BEFORE: Mutex<Option<Leftovers>> = Mutex::new(None);

/// The most that a further cluster may take on disk after its start, in KiB.
const DISK: u64 = 200 * 1000 * 1000 / 1024;

pub(crate) fn one_node(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    let report = place.json(&["up", PROVIDER, "--nodes", "1"])?;
    check(report["nodes"] == 1, || format!("{report}"))?;
    let nodes = place.run(&["kubectl", "get", "nodes", "-o", "name"])?;
    check(nodes == "node/node01\n", || nodes.clone())?;
    let query = "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}";
    let bound = place.run(&["kubectl", "get", "pods", "-A", "-o", query])?;
    check(bound.lines().all(|node| node == "node01"), || bound.clone())?;
    // The control-plane taint is removed from the only node.
    let taints = place.run(&[
        "kubectl",
        "get",
        "node",
        "node01",
        "-o",
        "jsonpath={.spec.taints}",
    ])?;
    check(taints.is_empty(), || taints.clone())?;
    place.run(&["down"])?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

pub(crate) fn three_nodes(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    let report = place.json(&["up", PROVIDER])?;
    check(report["nodes"] == 3, || format!("{report}"))?;
    let status = place.json(&["status"])?;
    let ready = status["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|node| node["ready"] == true)
        .count();
    check(ready == 3, || format!("{status}"))?;
    // The host gets no interface, route, rule or mount, and connections out of the cluster are refused immediately.
    let during = Leftovers::list(place.dir())?;
    for kind in ["interface", "route", "firewall table", "mount"] {
        check(!during.has_new(&before, kind), || {
            format!("a new {kind} on the host")
        })?;
    }
    let dial = "timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/443' 2>&1; echo $?";
    let refused = place.run(&["ssh", "node02", "--", "sh", "-c", dial])?;
    check(
        refused.trim_end().ends_with('1') && !refused.contains("124"),
        || refused.clone(),
    )?;
    let pods = place.run(&["ssh", "node01", "--", "crictl", "pods"])?;
    check(pods.contains("kube-apiserver-node01"), || pods.clone())?;
    disk(place)?;
    *BEFORE.lock().map_err(|error| error.to_string())? = Some(before);
    Ok(())
}

/// The disk usage of the cluster's own files is limited.
fn disk(place: &Place) -> Outcome {
    let dir = place.dir().join("clusters/default");
    let output = std::process::Command::new("du")
        .arg("-sk")
        .arg(dir)
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let taken = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse::<u64>().ok());
    check(taken.is_some_and(|taken| taken < DISK), || {
        format!("the cluster takes {text}")
    })
}

/// Two clusters of one artifact, with the same addresses, run at the same time and do not trust each other.
pub(crate) fn second(place: &Place) -> Outcome {
    place.json(&["up", PROVIDER, "--nodes", "1", "--name", "second"])?;
    let listed = place.json(&["list"])?;
    let running = |cluster: &&Value| cluster["state"] == "running";
    check(
        listed.as_array().into_iter().flatten().filter(running).count() == 2,
        || format!("{listed}"),
    )?;
    let nodes = place.run(&["--name", "second", "kubectl", "get", "nodes", "-o", "name"])?;
    check(nodes == "node/node01\n", || nodes.clone())?;
    let nodes = place.run(&["kubectl", "get", "nodes", "-o", "name"])?;
    check(nodes.lines().count() == 3, || nodes.clone())?;
    let server = format!("--server=https://{}", api(place, "second")?);
    let first_at_second = place.command(&["kubectl", &server, "get", "nodes"]).output();
    let output = first_at_second.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    check(text.contains("certificate signed by unknown authority"), || {
        text.into_owned()
    })?;
    isolation::refused(place, "default", "second")?;
    access::kubeconfig(place, "second")?;
    record_tested(place, PROVIDER, &["thaw", "second identity"])
}

fn api(place: &Place, name: &str) -> Result<String, String> {
    let listed = place.json(&["list"])?;
    let cluster = listed
        .as_array()
        .into_iter()
        .flatten()
        .find(|cluster| cluster["name"] == name);
    let api = cluster.and_then(|cluster| cluster["api"].as_str());
    api.map(str::to_owned)
        .ok_or_else(|| format!("no `{name}` in {listed}"))
}

pub(crate) fn down(place: &Place) -> Outcome {
    place.run(&["down"])?;
    place.removed(&[&WEB, &THREE_NODES])?;
    let before = BEFORE.lock().map_err(|error| error.to_string())?.take();
    let before = before.ok_or("there is no listing from before")?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

pub(crate) fn killed(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    let words = ["up", PROVIDER, "--nodes", "1", "--name", "killed"];
    place.kill_after(&words, Duration::from_millis(1500))?;
    // The next command with that name cleans up.
    place.json(&words)?;
    place.run(&["down", "--name", "killed"])?;
    eventually("the host to be as before", Duration::from_secs(5), || {
        Leftovers::list(place.dir())?.nothing_new_since(&before)
    })
}

pub(crate) fn interrupted(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    let words = ["up", PROVIDER, "--nodes", "1", "--name", "interrupted"];
    let mut command = place.command(&words);
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = spawned.map_err(|error| error.to_string())?;
    std::thread::sleep(Duration::from_millis(1500));
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    check(kill.is_ok_and(|status| status.success()), || {
        "no such process".to_owned()
    })?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    check(
        output.status.code() == Some(130) && message.contains("error: interrupted"),
        || message.clone(),
    )?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}
