//! Clusters with applications: frozen while they run, thawed beside the original.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{fixtures, nodes};
use parbake_test_support::events::ends_with_events;
use parbake_test_support::identity::{contains_no_secret, secrets_on};
use parbake_test_support::isolation;
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};
use parbake_test_support::secrets::Secret;
use parbake_test_support::services;
use parbake_test_support::workload::etcd_image;

const MANIFEST: &str = include_str!("freeze.yaml");
/// The artifact.
const TAG: &str = "with-app";
/// The frozen cluster and its copy.
const LIVE: &str = "live";
const COPY: &str = "copy";

/// What parbake had on the host before the first cluster.
static BEFORE: Mutex<Option<Leftovers>> = Mutex::new(None);
/// Secrets on the first cluster's machines when it was frozen.
static HELD: Mutex<BTreeSet<Secret>> = Mutex::new(BTreeSet::new());

fn on(place: &Place, cluster: &str, words: &[&str]) -> Result<String, String> {
    place.run(&[&["--name", cluster], words].concat())
}

fn shell(place: &Place, cluster: &str, line: &str) -> Result<String, String> {
    on(place, cluster, &["exec", "node01", "--", "sh", "-euc", line])
}

/// The application's container and its restart count.
fn container(place: &Place, cluster: &str) -> Result<String, String> {
    let status = ".items[0].status.containerStatuses[0]";
    let query = format!("jsonpath={{{status}.containerID}} {{{status}.restartCount}}");
    on(
        place,
        cluster,
        &["kubectl", "get", "pods", "-l", "app=app", "-o", &query],
    )
}

/// The number that the application counts up.
fn count(place: &Place, cluster: &str) -> Result<u64, String> {
    // The file is empty for a moment while it is written.
    let text = shell(place, cluster, "until grep . /srv/app/count; do :; done")?;
    text.trim().parse().map_err(|error| format!("{error} in {text}"))
}

/// The application is running.
fn counts(place: &Place, cluster: &str) -> Outcome {
    let before = count(place, cluster)?;
    eventually("the workload to go on", Duration::from_secs(10), || {
        let now = count(place, cluster)?;
        check(now > before, || format!("it stands at {now}"))
    })
}

pub(crate) fn live(place: &Place) -> Outcome {
    *BEFORE.lock().map_err(|error| error.to_string())? = Some(Leftovers::list(place.dir())?);
    place.refused(&["freeze", TAG, "--name", LIVE], &["there is no cluster `live`"])?;
    place.json(&["up", PROVIDER, "--nodes", "1", "--name", LIVE])?;
    let image = etcd_image(place, LIVE)?;
    let apply = ["--name", LIVE, "kubectl", "apply", "-f", "-"];
    place.feed(&apply, &MANIFEST.replace("@IMAGE@", &image))?;
    on(
        place,
        LIVE,
        &["kubectl", "rollout", "status", "deployment/app", "--timeout=60s"],
    )?;
    shell(
        place,
        LIVE,
        "echo mine > /root/note; cp /etc/kubernetes/admin.conf /root/my.conf; mkdir -p /srv/x; \
        cp /var/lib/kubelet/pki/kubelet.key /srv/x/key",
    )?;
    services::push(place, LIVE)?;
    let (held, complete) = secrets_on(&isolation::running(place, LIVE)?);
    check(complete && held.len() > 12, || {
        format!("only {} secrets were seen", held.len())
    })?;
    *HELD.lock().map_err(|error| error.to_string())? = held;

    let before = container(place, LIVE)?;
    let report = place.json(&["freeze", TAG, "--name", LIVE])?;
    ends_with_events(place, LIVE, &["frozen"])?;
    check(
        report["paused_milliseconds"]
            .as_u64()
            .is_some_and(|paused| paused < 5000),
        || format!("{report}"),
    )?;
    check(report["secrets"] == 1 && report["nodes"] == 1, || {
        format!("{report}")
    })?;
    let claim = serde_json::json!({"kind": "claim", "name": "default/nothing", "state": "Pending"});
    check(report["in_flight"] == serde_json::json!([claim]), || {
        format!("{report}")
    })?;
    let left_out = report["left_out"].as_array().into_iter().flatten();
    let mut left_out: Vec<&str> = left_out.filter_map(|file| file["path"].as_str()).collect();
    left_out.sort_unstable();
    check(left_out == ["/root/my.conf", "/srv/x/key"], || {
        format!("{report}")
    })?;

    check(container(place, LIVE)? == before, || {
        "the pod was restarted".to_owned()
    })?;
    counts(place, LIVE)?;
    // The copy was cleaned, the cluster was not.
    shell(
        place,
        LIVE,
        "test -e /root/my.conf && test -e /etc/kubernetes/pki/ca.key",
    )?;
    on(place, LIVE, &["kubectl", "get", "configmap", "kube-root-ca.crt"])?;
    place.refused(
        &["freeze", TAG, "--name", LIVE],
        &["there is an artifact `with-app` already", "--force"],
    )
}

pub(crate) fn at_rest(place: &Place) -> Outcome {
    let held = HELD.lock().map_err(|error| error.to_string())?.clone();
    contains_no_secret(place, TAG, &held)?;
    place.run(&["artifact", "verify", TAG])?;
    let (frozen, baked) = (inspect(place, TAG)?, inspect(place, PROVIDER)?);
    check(frozen["secrets"] == 1 && baked["secrets"] == 0, || {
        format!("{} and {}", frozen["secrets"], baked["secrets"])
    })?;
    // All layers but one are those of the original artifact.
    let digests = |artifact: &Value| -> BTreeSet<String> {
        let layers = artifact["layers"].as_array().into_iter().flatten();
        layers.map(|layer| layer["digest"].to_string()).collect()
    };
    let new = digests(&frozen).difference(&digests(&baked)).count();
    check(new == 1, || format!("{new} new layers"))?;
    let small = frozen["layers"].as_array().into_iter().flatten().any(|layer| {
        layer["title"] == "machine/node01.2"
            && layer["size_bytes"].as_u64().is_some_and(|size| size < 1_000_000)
    });
    check(small, || format!("{frozen}"))?;
    record_tested(place, PROVIDER, &["freeze"])
}

fn inspect(place: &Place, tag: &str) -> Result<Value, String> {
    place.json(&["artifact", "inspect", tag])
}

pub(crate) fn beside(place: &Place) -> Outcome {
    // One node more than was frozen.
    let report = place.json(&["up", TAG, "--nodes", "2", "--name", COPY])?;
    check(report["nodes"] == 2, || format!("{report}"))?;
    on(
        place,
        COPY,
        &["kubectl", "rollout", "status", "deployment/app", "--timeout=60s"],
    )?;
    nodes::serves(place, COPY, "node02", "deployment/app")?;
    nodes::no_token(place, COPY)?;
    let query = |what: &str, path: &str| {
        let words = ["kubectl", "get", what, "-o", &format!("jsonpath={path}")];
        on(place, COPY, &words)
    };
    let found = query("configmap/greeting", "{.data.text}")?;
    check(found == "hello", || found.clone())?;
    let found = query("secret/password", "{.data.text}")?;
    check(found == "YSB1c2VycyBvd24gc2VjcmV0", || found.clone())?;
    // One start in the original and one here: the pod did not run in between. The volume of the default storage class has
    // the same history.
    for dir in ["/srv/app", "/mnt/local-storage/pvc-*_default_volume"] {
        let starts = shell(place, COPY, &format!("cat {dir}/starts"))?;
        check(starts == "start\nstart\n", || format!("{dir}: {starts}"))?;
    }
    let root = shell(place, COPY, "ls /root /srv/x; cat /root/note")?;
    check(
        root.contains("mine") && !root.contains("my.conf") && !root.contains("key"),
        || root.clone(),
    )?;
    counts(place, COPY)?;
    services::is_pushed(place, COPY)?;
    isolation::refused(place, LIVE, COPY)?;
    isolation::refused(place, COPY, LIVE)
}

pub(crate) fn again(place: &Place) -> Outcome {
    // The tag that the cluster came from may be removed.
    place.run(&["artifact", "remove", TAG])?;
    shell(place, COPY, "rm -r /root/note; echo more > /srv/more")?;
    let (held, _) = secrets_on(&isolation::running(place, COPY)?);
    let report = place.json(&["freeze", TAG, "--name", COPY, "--force"])?;
    check(
        report["own_size"].as_u64().is_some_and(|size| size < 1_000_000),
        || format!("{report}"),
    )?;
    // The joined node is frozen too.
    check(report["nodes"] == 2, || format!("{report}"))?;
    contains_no_secret(place, TAG, &held)?;
    on(place, COPY, &["down"])?;
    place.json(&["up", TAG, "--name", COPY])?;
    nodes::answers(place, COPY, "node02", "deployment/app")?;
    let found = shell(place, COPY, "cat /srv/app/starts /srv/more; test ! -e /root/note")?;
    check(found == "start\nstart\nstart\nmore\n", || found.clone())?;
    on(place, COPY, &["down"])?;
    place.removed(&[&fixtures::COPY])
}

pub(crate) fn killed(place: &Place) -> Outcome {
    let scratch = place.dir().join("freeze");
    for milliseconds in [100, 200, 300, 400, 600, 1000, 2500, 4500] {
        let mut child = place.spawn(&["freeze", "killed", "--name", LIVE, "--force"])?;
        thread::sleep(Duration::from_millis(milliseconds));
        // A quick one may be finished.
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|error| error.to_string())?;
        counts(place, LIVE).map_err(|error| format!("killed after {milliseconds} ms: {error}"))?;
    }
    // An incomplete artifact would not verify; a complete one may have been written by the last attempt.
    if inspect(place, "killed").is_ok() {
        place.run(&["artifact", "verify", "killed"])?;
        place.run(&["artifact", "remove", "killed"])?;
    }
    place.json(&["freeze", "killed", "--name", LIVE])?;
    check(!scratch.exists(), || format!("`{}` is left", scratch.display()))?;
    for tag in ["killed", TAG] {
        place.run(&["artifact", "remove", tag])?;
    }
    on(place, LIVE, &["down"])?;
    place.removed(&[&fixtures::COPY, &fixtures::FROZEN])?;
    let before = BEFORE.lock().map_err(|error| error.to_string())?.take();
    let before = before.ok_or("there is no listing from before")?;
    eventually("the host to be as before", Duration::from_secs(5), || {
        Leftovers::list(place.dir())?.nothing_new_since(&before)
    })?;
    check(fs::read_dir(place.dir().join("clusters")).is_err(), || {
        "a cluster is left".to_owned()
    })
}
