//! Every provider is baked, thawed and used.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use parbake_test_support::identity::{contains_no_secret, secrets_on};
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, Place, check, eventually, record_tested};
use parbake_test_support::{access, isolation, services, workload};

/// The second cluster beside `default`, and the artifact that `default` becomes.
const BESIDE: &str = "beside";
const FROZEN: &str = "frozen-version";
/// A pod that writes to a volume of the default storage class and prints its content.
const VOLUME: &str = include_str!("versions.yaml");
/// Prints what distinguishes the cluster from any other.
const IDENTITY: &str = "sha256sum /etc/machine-id /etc/kubernetes/pki/*.key /etc/kubernetes/*.conf";

/// A baked provider.
pub(crate) struct Baked<'a> {
    pub(crate) provider: &'a str,
    /// The container runtime as the API reports it.
    pub(crate) runtime: &'a str,
    /// The name of the artifact.
    pub(crate) tag: &'a str,
}

/// Kubernetes 1.17, whose pods mount tokens from secrets.
pub(crate) fn k8s_1_17(place: &Place) -> Outcome {
    holds(place, &Baked::plain("k8s-1.17"), |_| Ok(()))
}

/// Kubernetes 1.36 with containerd 2.
pub(crate) fn k8s_1_36(place: &Place) -> Outcome {
    holds(place, &Baked::plain("k8s-1.36"), |_| Ok(()))
}

impl<'a> Baked<'a> {
    /// A provider without changes.
    fn plain(provider: &'a str) -> Self {
        Self {
            provider,
            runtime: "containerd",
            tag: provider,
        }
    }
}

/// Bakes three nodes, thaws and uses them, thaws them a second time, stops, starts and freezes them; then runs `more` with
/// the cluster `default`.
pub(crate) fn holds(place: &Place, baked: &Baked<'_>, more: fn(&Place) -> Outcome) -> Outcome {
    let words = ["provision", baked.provider, "--source", "modules"];
    let choice = ["--runtime", baked.runtime, "--tag", baked.tag];
    place.run(&[&words[..], &choice].concat())?;
    let before = Leftovers::list(place.dir())?;
    let outcome = lives(place, baked).and_then(|()| more(place));
    // The first failure matters; the cluster may not exist.
    let _ = place.run(&["down", "--name", BESIDE]);
    let ended = place.run(&["down"]);
    outcome?;
    ended?;
    eventually("the host to be as before", Duration::from_secs(5), || {
        Leftovers::list(place.dir())?.nothing_new_since(&before)
    })?;
    let runtime = format!("container runtime {}", baked.runtime);
    match baked.tag == baked.provider {
        true => record_tested(
            place,
            baked.tag,
            &["bake", "thaw", "workload", "second identity", "freeze"],
        )?,
        // All of these, except the provider itself.
        false => record_tested(place, baked.tag, &[&runtime])?,
    }
    for tag in [baked.tag, FROZEN] {
        place.run(&["artifact", "remove", tag])?;
    }
    Ok(())
}

fn lives(place: &Place, baked: &Baked<'_>) -> Outcome {
    contains_no_secret(place, baked.tag, &BTreeSet::new())?;
    let report = place.json(&["up", baked.tag])?;
    check(report["nodes"] == 3, || format!("{report}"))?;
    is_of_the_version(place, baked)?;
    started_once(place)?;
    workload::service(place)?;
    workload::access(place)?;
    access::images(place)?;
    services::images(place)?;
    let stores = stores(place, baked.provider)?;
    if stores {
        keeps(place, "first", "first")?;
    }

    place.json(&["up", baked.tag, "--nodes", "1", "--name", BESIDE])?;
    let (first, beside) = (identity(place, "default")?, identity(place, BESIDE)?);
    check(alike(&first, &beside) == 0, || format!("{first}\n{beside}"))?;
    isolation::refused(place, "default", BESIDE)?;
    isolation::refused(place, BESIDE, "default")?;
    place.run(&["down", "--name", BESIDE])?;

    place.run(&["stop"])?;
    place.run(&["start"])?;
    check(identity(place, "default")? == first, || {
        "it came back as another".to_owned()
    })?;
    answers(place, "default")?;
    if stores {
        keeps(place, "second", "first second")?;
    }

    let (held, complete) = secrets_on(&isolation::running(place, "default")?);
    check(complete && held.len() > 12, || format!("{} secrets", held.len()))?;
    place.run(&["freeze", FROZEN])?;
    contains_no_secret(place, FROZEN, &held)?;
    answers(place, "default")?;
    place.json(&["up", FROZEN, "--name", BESIDE])?;
    let beside = identity(place, BESIDE)?;
    check(alike(&first, &beside) == 0, || format!("{first}\n{beside}"))?;
    answers(place, BESIDE)?;
    place.run(&["down", "--name", BESIDE]).map(drop)
}

/// True if clusters of the provider have a default storage class.
fn stores(place: &Place, provider: &str) -> Result<bool, String> {
    let shown = place.json(&["provider", "show", provider])?;
    let addons = shown["addons"].as_array();
    let addons = addons.ok_or_else(|| format!("no list of add-ons in {shown}"))?;
    Ok(addons.iter().any(|addon| addon == "local-storage"))
}

/// The API server, kubelets and runtime have the versions that the provider names.
fn is_of_the_version(place: &Place, baked: &Baked<'_>) -> Outcome {
    let shown = place.json(&["provider", "show", baked.provider])?;
    let wanted = shown["cluster"]["kubernetes"].as_str().unwrap_or_default();
    let server: Value = serde_json::from_str(&place.run(&["kubectl", "version", "-o", "json"])?)
        .map_err(|error| error.to_string())?;
    check(server["serverVersion"]["gitVersion"] == wanted, || {
        format!("{server}, not {wanted}")
    })?;
    let query = "jsonpath={range .items[*].status.nodeInfo}{.kubeletVersion} {.containerRuntimeVersion}{\"\\n\"}{end}";
    let nodes = place.run(&["kubectl", "get", "nodes", "-o", query])?;
    let runtime = shown["components"][baked.runtime].as_str().unwrap_or_default();
    let from_baked = format!("{wanted} {}://", baked.runtime);
    let is_right = |line: &str| line.starts_with(&from_baked) && line.contains(runtime);
    check(nodes.lines().count() == 3 && nodes.lines().all(is_right), || {
        format!("{nodes}, not {wanted} on {runtime}")
    })
}

/// No container of the thawed cluster was restarted.
fn started_once(place: &Place) -> Outcome {
    let pods = place.run(&["kubectl", "get", "pods", "-A", "--no-headers"])?;
    check(pods.lines().count() > 6, || pods.clone())?;
    let baked = place.run(&["exec", "node01", "--", "crictl", "ps", "--all", "--output=json"])?;
    let containers: Value = serde_json::from_str(&baked).map_err(|error| error.to_string())?;
    let ended = containers["containers"].as_array().into_iter().flatten();
    let ended: Vec<&Value> = ended
        .filter(|container| container["state"] != "CONTAINER_RUNNING")
        .collect();
    check(ended.is_empty(), || format!("{ended:?}\n{pods}"))
}

/// The deployment answers through its service, by name.
fn answers(place: &Place, name: &str) -> Outcome {
    let ask = "for try in $(seq 40); do answer=$(echo 'GET / HTTP/1.0' | socat -t5 - \
               TCP:web.default.svc.cluster.local:80) && break; sleep 0.5; done; echo \"$answer\"";
    let exec = ["kubectl", "exec", "deployment/web", "--", "/bin/sh", "-c", ask];
    eventually("an answer of the deployment", Duration::from_secs(60), || {
        let answer = place.run(&[&["--name", name], exec.as_slice()].concat())?;
        check(answer.contains("served by web-"), || answer.clone())
    })
}

/// A volume of the default storage class gets `line` and then contains all `lines`.
fn keeps(place: &Place, line: &str, lines: &str) -> Outcome {
    let manifest = VOLUME
        .replace("@IMAGE@", &workload::etcd_image(place, "default")?)
        .replace("@LINE@", line);
    place.feed(&["kubectl", "apply", "-f", "-"], &manifest)?;
    let pod = format!("pod/volume-{line}");
    eventually("what is in the volume", Duration::from_secs(60), || {
        let message = place.run(&["kubectl", "logs", &pod])?;
        let message: Vec<&str> = message.split_whitespace().collect();
        check(message.join(" ") == lines, || format!("{message:?}, not {lines}"))
    })
}

/// One line for each file that distinguishes the cluster `name` from others.
fn identity(place: &Place, name: &str) -> Result<String, String> {
    place.run(&["--name", name, "exec", "node01", "--", "sh", "-c", IDENTITY])
}

/// The number of lines that two identities share.
fn alike(one: &str, other: &str) -> usize {
    one.lines()
        .filter(|line| other.lines().any(|theirs| theirs == *line))
        .count()
}
