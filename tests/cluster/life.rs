//! The life cycle of a cluster: create, start, pause, stop, kill, start again, remove.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use parbake_machine::supervisor::Running;
use serde_json::Value;

use crate::dashboard;
use crate::fixtures::{LIFE, LIFE_NODE, LIFE_RESTARTED, LIFE_SWAPPED};
use parbake_test_support::events::{ends_with_events, milestones_are_recorded};
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually};
use parbake_test_support::services;
use parbake_test_support::workload::etcd_image;

const MANIFEST: &str = include_str!("life.yaml");
/// The name of the cluster.
const NAME: &str = "life";
/// The volume of the stateful set `store`, made by the default storage class.
const STORE: &str = "/mnt/local-storage/pvc-*_default_data-store-0";
/// Prints what distinguishes the cluster from any other.
const IDENTITY: &str = "sha256sum /etc/machine-id /etc/kubernetes/pki/*.key /etc/kubernetes/pki/etcd/*.key \
    /etc/kubernetes/*.conf /var/lib/kubelet/pki/*; kubectl --kubeconfig /etc/kubernetes/admin.conf \
    get namespace kube-system default -o 'jsonpath={.items[*].metadata.uid}'";

/// The first host address of the cluster's registry.
static REGISTRY: Mutex<Option<String>> = Mutex::new(None);
/// What parbake had on the host before the cluster.
static BEFORE: Mutex<Option<Leftovers>> = Mutex::new(None);
/// What distinguished the cluster after its first start.
static IDENTITIES: Mutex<Option<(String, String)>> = Mutex::new(None);

fn on(place: &Place, words: &[&str]) -> Result<String, String> {
    place.run(&[&["--name", NAME], words].concat())
}

fn shell(place: &Place, line: &str) -> Result<String, String> {
    on(place, &["exec", "node01", "--", "sh", "-euc", line])
}

fn state(place: &Place) -> Result<String, String> {
    let listed = place.json(&["list"])?;
    let clusters = listed.as_array().into_iter().flatten();
    let found = clusters.clone().find(|cluster| cluster["name"] == NAME);
    let state = found.and_then(|cluster| cluster["state"].as_str());
    state
        .map(str::to_owned)
        .ok_or_else(|| format!("no `{NAME}` in {listed}"))
}

fn is(place: &Place, wanted: &str) -> Outcome {
    let found = state(place)?;
    check(found == wanted, || {
        format!("the cluster is {found}, not {wanted}")
    })?;
    let status = place.json(&["status", "--name", NAME])?;
    check(status["state"] == wanted, || format!("{status}"))
}

/// The last number that the store has written.
fn count(place: &Place) -> Result<u64, String> {
    let text = shell(place, &format!("cat {STORE}/count"))?;
    text.trim().parse().map_err(|error| format!("{error} in {text}"))
}

/// The store continues from `least`.
fn counts_from(place: &Place, least: u64) -> Outcome {
    eventually("the store to go on", Duration::from_secs(15), || {
        let now = count(place)?;
        check(now > least, || format!("it stands at {now}, and was at {least}"))
    })?;
    // The same pod still has the file in its volume.
    let file = [
        "kubectl",
        "exec",
        "store-0",
        "--",
        "/usr/bin/cat",
        "/scratch/mine",
    ];
    let mine = on(place, &file)?;
    check(mine == "here\n", || mine.clone())
}

/// What distinguishes the cluster from others: keys, ids, objects, and the kubeconfig.
fn identity(place: &Place) -> Result<(String, String), String> {
    let path = on(place, &["kubeconfig", "--path"])?;
    let kubeconfig = fs::read_to_string(path.trim()).map_err(|error| error.to_string())?;
    Ok((shell(place, IDENTITY)?, kubeconfig))
}

fn is_the_same(place: &Place) -> Outcome {
    let before = IDENTITIES.lock().map_err(|error| error.to_string())?.clone();
    let (before, now) = (
        before.ok_or("there is no identity from before")?,
        identity(place)?,
    );
    check(before == now, || format!("{before:?} became {now:?}"))
}

/// The pushed artifact is still in the cluster's registry, which still has the same host port.
fn has_what_was_pushed(place: &Place) -> Outcome {
    let before = REGISTRY.lock().map_err(|error| error.to_string())?.clone();
    let now = services::is_pushed(place, NAME)?;
    check(before.as_ref() == Some(&now), || {
        format!("{before:?} became {now}")
    })
}

/// The store's pod and container, and the restart counts of all containers.
fn pods(place: &Place) -> Result<String, String> {
    let status = "{.metadata.uid}{range .status.containerStatuses[*]} {.containerID} {.restartCount}{end}";
    let query = format!("jsonpath={{range .items[*]}}{status}{{\"\\n\"}}{{end}}");
    on(place, &["kubectl", "get", "pods", "-A", "-o", &query])
}

/// Nothing of the cluster is left except files.
fn only_files(place: &Place) -> Outcome {
    let before = BEFORE.lock().map_err(|error| error.to_string())?;
    let before = before.as_ref().ok_or("there is no listing from before")?;
    eventually("the host to be as before", Duration::from_secs(5), || {
        let files = format!("file: {}/clusters", place.dir().display());
        Leftovers::list(place.dir())?
            .except(&files)
            .nothing_new_since(before)
    })
}

fn nothing(place: &Place) -> Outcome {
    let before = BEFORE.lock().map_err(|error| error.to_string())?;
    let before = before.as_ref().ok_or("there is no listing from before")?;
    eventually("the host to be as before", Duration::from_secs(5), || {
        Leftovers::list(place.dir())?.nothing_new_since(before)
    })
}

pub(crate) fn created(place: &Place) -> Outcome {
    *BEFORE.lock().map_err(|error| error.to_string())? = Some(Leftovers::list(place.dir())?);
    for word in ["start", "stop", "restart", "pause", "unpause"] {
        place.refused(&[word, "--name", NAME], &["there is no cluster `life`"])?;
    }
    place.refused(
        &["create", PROVIDER, "--name", NAME, "--nodes", "300"],
        &["has no room for node `node245`"],
    )?;
    nothing(place)?;
    let report = place.json(&["create", PROVIDER, "--name", NAME, "--nodes", "1"])?;
    check(report["nodes"] == 1, || format!("{report}"))?;
    is(place, "created")?;
    only_files(place)?;
    for words in [vec!["create", PROVIDER], vec!["up", PROVIDER]] {
        let message = ["there is a cluster `life` already", "parbake start"];
        place.refused(&[words, vec!["--name", NAME]].concat(), &message)?;
    }
    for words in [vec!["pause"], vec!["kubeconfig"], vec!["kubectl", "version"]] {
        let words = [&["--name", NAME], words.as_slice()].concat();
        place.refused(&words, &["is not running", "parbake start --name life"])?;
    }
    on(place, &["destroy"])?;
    nothing(place)
}

pub(crate) fn started(place: &Place) -> Outcome {
    *BEFORE.lock().map_err(|error| error.to_string())? = Some(Leftovers::list(place.dir())?);
    let config = place.dir().join("life.toml");
    fs::write(&config, "[arguments.kubelet]\nmax-pods = 90\n").map_err(|error| error.to_string())?;
    let create = ["create", PROVIDER, "--name", NAME, "--nodes", "1", "--config"];
    place.json(&[create.as_slice(), &[&config.to_string_lossy()]].concat())?;
    fs::remove_file(&config).map_err(|error| error.to_string())?;
    // A killed start leaves a cluster that was never started.
    place.kill_after(&["start", "--name", NAME], Duration::from_millis(1500))?;
    let found = state(place)?;
    check(["created", "starting"].contains(&found.as_str()), || {
        found.clone()
    })?;
    let report = place.json(&["start", "--name", NAME])?;
    check(report["started"] == true, || format!("{report}"))?;
    is(place, "running")?;
    let report = place.json(&["start", "--name", NAME])?;
    check(report["started"] == false, || format!("{report}"))?;
    let image = etcd_image(place, NAME)?;
    let apply = ["--name", NAME, "kubectl", "apply", "-f", "-"];
    place.feed(&apply, &MANIFEST.replace("@IMAGE@", &image))?;
    let rollout = ["kubectl", "rollout", "status", "statefulset/store"];
    on(place, &[&rollout, ["--timeout=60s"].as_slice()].concat())?;
    let claim = ["kubectl", "get", "pvc", "data-store-0", "-o"];
    let path = "jsonpath={.status.phase} {.spec.storageClassName}";
    let bound = on(place, &[claim.as_slice(), &[path]].concat())?;
    check(bound == "Bound local-path", || bound.clone())?;
    shell(place, "echo mine > /root/note; echo 192.0.2.7 mine >> /etc/hosts")?;
    counts_from(place, 0)?;
    *IDENTITIES.lock().map_err(|error| error.to_string())? = Some(identity(place)?);
    *REGISTRY.lock().map_err(|error| error.to_string())? = Some(services::push(place, NAME)?);
    // The first start was killed.
    ends_with_events(place, NAME, &["created", "starting", "starting", "ready"])?;
    milestones_are_recorded(place, NAME)?;
    status(place)
}

fn status(place: &Place) -> Outcome {
    let status = place.json(&["status", "--name", NAME])?;
    let takes = |value: &Value| {
        value["memory_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 100_000_000)
            && value["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 1.0)
    };
    let sound = takes(&status)
        && takes(&status["nodes"][0])
        && status["disk_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 1_000_000)
        && status["ports"][0]["cluster"] == "10.89.0.11:6443"
        && status["problem"].is_null()
        && status["pods"].as_array().is_some_and(|pods| pods.len() > 5);
    check(sound, || format!("{status}"))
}

pub(crate) fn paused(place: &Place) -> Outcome {
    let before = pods(place)?;
    on(place, &["pause"])?;
    is(place, "paused")?;
    let report = place.json(&["pause", "--name", NAME])?;
    check(report["changed"] == false, || format!("{report}"))?;
    for words in [
        vec!["kubectl", "get", "nodes"],
        vec!["freeze", "paused"],
        vec!["start"],
    ] {
        let words = [&["--name", NAME], words.as_slice()].concat();
        place.refused(&words, &["is paused", "parbake unpause --name life"])?;
    }
    let usage = || {
        let status = place.json(&["status", "--name", NAME])?;
        Ok::<_, String>((status["cpu_seconds"].clone(), status["memory_bytes"].as_u64()))
    };
    let (first, memory) = usage()?;
    thread::sleep(Duration::from_secs(2));
    let (second, _) = usage()?;
    check(first.is_number() && first == second, || {
        format!("{first} seconds of processor time became {second}")
    })?;
    check(memory.is_some_and(|memory| memory > 100_000_000), || {
        format!("{memory:?} bytes of memory")
    })?;
    let report = place.json(&["unpause", "--name", NAME])?;
    check(report["changed"] == true, || format!("{report}"))?;
    is(place, "running")?;
    let report = place.json(&["unpause", "--name", NAME])?;
    check(report["changed"] == false, || format!("{report}"))?;
    counts_from(place, count(place)?)?;
    let after = pods(place)?;
    check(before == after, || format!("{before} became {after}"))?;
    ends_with_events(place, NAME, &["paused", "unpaused"])?;
    is_the_same(place)
}

pub(crate) fn stopped(place: &Place) -> Outcome {
    let least = count(place)?;
    let log = store_log(place)?;
    // From a pause: a paused process could not shut down.
    on(place, &["pause"])?;
    let report = place.json(&["stop", "--name", NAME])?;
    check(report["stopped"] == true, || format!("{report}"))?;
    is(place, "stopped")?;
    only_files(place)?;
    let report = place.json(&["stop", "--name", NAME])?;
    check(report["stopped"] == false, || format!("{report}"))?;
    for word in ["pause", "unpause"] {
        place.refused(
            &[word, "--name", NAME],
            &["is not running", "parbake start --name life"],
        )?;
    }
    on(place, &["start"])?;
    ends_with_events(place, NAME, &["paused", "stopped", "starting", "ready"])?;
    is_the_same(place)?;
    has_what_was_pushed(place)?;
    counts_from(place, least)?;
    let found = shell(place, "cat /root/note; grep -c mine /etc/hosts")?;
    check(found == "mine\n1\n", || found.clone())?;
    store_log_grew(place, &log, "end\nstart\n")
}

/// The starts and ends that the store recorded.
fn store_log(place: &Place) -> Result<String, String> {
    shell(place, &format!("cat {STORE}/log"))
}

/// The store recorded exactly `more` since `before`.
fn store_log_grew(place: &Place, before: &str, more: &str) -> Outcome {
    let now = store_log(place)?;
    check(now == format!("{before}{more}"), || {
        format!("{before:?} became {now:?}")
    })
}

/// Kills all processes of the cluster at once, supervisor and sweeper first.
fn kill_all(place: &Place) -> Outcome {
    let found = Running::find(&place.dir().join("clusters").join(NAME));
    let running = found.map_err(|error| error.to_string())?;
    let state = running.ok_or("the cluster does not run")?.state().clone();
    let supervisor = state.supervisor.pid;
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    let children = children.map_err(|error| error.to_string())?;
    let mut pids = vec![supervisor.to_string()];
    pids.extend(children.split_whitespace().map(str::to_owned));
    while !pids.is_empty() {
        // Some may have exited with others.
        let _ = Command::new("kill").arg("-KILL").args(&pids).output();
        pids = state.cgroup.processes().iter().map(u32::to_string).collect();
    }
    Ok(())
}

pub(crate) fn killed(place: &Place) -> Outcome {
    let least = count(place)?;
    let log = store_log(place)?;
    kill_all(place)?;
    let found = state(place)?;
    check(["stopped", "broken"].contains(&found.as_str()), || found.clone())?;
    dashboard::start(place, NAME)?;
    is(place, "running")?;
    is_the_same(place)?;
    has_what_was_pushed(place)?;
    counts_from(place, least)?;
    store_log_grew(place, &log, "start\n")
}

/// A killed stop leaves a cluster that runs or that finishes its shutdown.
pub(crate) fn killed_stop(place: &Place) -> Outcome {
    let least = count(place)?;
    // At a random time after the request and before the end.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = now.map_err(|error| error.to_string())?.subsec_millis() % 600;
    let time = Duration::from_millis(50 + u64::from(random));
    place.kill_after(&["stop", "--name", NAME], time)?;
    let ends_with_events = |problem: String| format!("killed after {time:?}: {problem}");
    let found = state(place).map_err(ends_with_events)?;
    check(
        ["running", "stopping", "stopped"].contains(&found.as_str()),
        || ends_with_events(found.clone()),
    )?;
    on(place, &["start"]).map_err(ends_with_events)?;
    is(place, "running").map_err(ends_with_events)?;
    is_the_same(place).map_err(ends_with_events)?;
    counts_from(place, least).map_err(ends_with_events)
}

/// Removes the cluster whether it is paused or was killed.
pub(crate) fn gone(place: &Place) -> Outcome {
    // Two commands at once: one of them fails immediately.
    let mut first = place.spawn(&["restart", "--name", NAME])?;
    thread::sleep(Duration::from_millis(200));
    place.refused(&["stop", "--name", NAME], &["another command is at work"])?;
    let ended = first.wait().map_err(|error| error.to_string())?;
    check(ended.success(), || format!("restart ended with {ended}"))?;
    is_the_same(place)?;
    ends_with_events(place, NAME, &["stopped", "starting", "ready"])?;
    on(place, &["pause"])?;
    on(place, &["down"])?;
    place.removed(&[&LIFE, &LIFE_NODE, &LIFE_SWAPPED, &LIFE_RESTARTED])?;
    nothing(place)?;
    place.json(&["up", PROVIDER, "--nodes", "1", "--name", NAME])?;
    on(place, &["stop"])?;
    moved(place)?;
    kill_all(place)?;
    on(place, &["down"])?;
    ends_with_events(
        place,
        NAME,
        &[
            "created", "starting", "ready", "stopped", "starting", "ready", "removed",
        ],
    )?;
    nothing(place)
}

/// Starts the stopped cluster while its API port is in use.
fn moved(place: &Place) -> Outcome {
    let path = on(place, &["kubeconfig", "--path"])?;
    let server = || {
        let text = fs::read_to_string(path.trim()).map_err(|error| error.to_string())?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("server: "));
        let server = line.and_then(|server| server.trim_matches('"').strip_prefix("https://"));
        server
            .map(str::to_owned)
            .ok_or("the kubeconfig names no server".to_owned())
    };
    let last = server()?;
    let mine = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mine = mine.path().join("config");
    on(place, &["kubeconfig", "--merge", &mine.display().to_string()])?;
    let _taken = TcpListener::bind(&last).map_err(|error| error.to_string())?;
    let report = place.json(&["start", "--name", NAME])?;
    check(report["api"] == server()? && server()? != last, || {
        format!("{last} became {}: {report}", server().unwrap_or_default())
    })?;
    // The merged kubeconfig of the user is updated too.
    let text = fs::read_to_string(&mine).map_err(|error| error.to_string())?;
    check(text.contains(&server()?) && !text.contains(&last), || {
        format!("{last} is still in {}", mine.display())
    })?;
    on(place, &["kubectl", "get", "nodes"]).map(drop)
}
