//! Every provider is baked, thawed and used like the first one, which all other tests are about.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Outcome, Place, check, eventually, tested};
use crate::identity::{free_of, held_by};
use crate::listing::Listing;
use crate::{access, services, strangers, workload};

/// The cluster that is thawed beside the first, which is called `default`, and the artifact that the first becomes.
const BESIDE: &str = "beside";
const FROZEN: &str = "frozen-version";
/// A pod that writes into a volume of the default storage class, and says what is in it.
const VOLUME: &str = include_str!("versions.yaml");
/// Prints what tells a cluster from any other.
const IDENTITY: &str = "sha256sum /etc/machine-id /etc/kubernetes/pki/*.key /etc/kubernetes/*.conf";

/// Kubernetes 1.17, whose pods mount tokens that are kept in secrets.
pub(crate) fn k8s_1_17(place: &Place) -> Outcome {
    holds(place, "k8s-1.17")
}

/// Kubernetes 1.36, with containerd 2.
pub(crate) fn k8s_1_36(place: &Place) -> Outcome {
    holds(place, "k8s-1.36")
}

/// Bakes three nodes of `provider`, thaws them, works on them, thaws them again beside, stops, starts and freezes them.
fn holds(place: &Place, provider: &str) -> Outcome {
    place.run(&["provision", provider, "--source", "modules"])?;
    let before = Listing::take(place.dir())?;
    let outcome = lives(place, provider);
    let ended = ["default", BESIDE].map(|name| place.run(&["down", "--name", name]));
    // What failed says why; that there is no cluster then comes second.
    outcome?;
    for down in ended {
        down?;
    }
    eventually("the host to be as before", Duration::from_secs(5), || {
        Listing::take(place.dir())?.nothing_new(&before)
    })?;
    let what = ["bake", "thaw", "workload", "second identity", "freeze"];
    tested(place, provider, &what)?;
    for tag in [provider, FROZEN] {
        place.run(&["artifact", "remove", tag])?;
    }
    Ok(())
}

fn lives(place: &Place, provider: &str) -> Outcome {
    free_of(place, provider, &BTreeSet::new())?;
    let report = place.json(&["up", provider])?;
    check(report["nodes"] == 3, || format!("{report}"))?;
    is_of_the_version(place, provider)?;
    started_once(place)?;
    workload::service(place)?;
    workload::access(place)?;
    access::images(place)?;
    services::images(place)?;
    let stores = stores(place, provider)?;
    if stores {
        keeps(place, "first", "first")?;
    }

    place.json(&["up", provider, "--nodes", "1", "--name", BESIDE])?;
    let (first, beside) = (identity(place, "default")?, identity(place, BESIDE)?);
    check(alike(&first, &beside) == 0, || format!("{first}\n{beside}"))?;
    strangers::refused(place, "default", BESIDE)?;
    strangers::refused(place, BESIDE, "default")?;
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

    let (held, complete) = held_by(&strangers::running(place, "default")?);
    check(complete && held.len() > 12, || format!("{} secrets", held.len()))?;
    place.run(&["freeze", FROZEN])?;
    free_of(place, FROZEN, &held)?;
    answers(place, "default")?;
    place.json(&["up", FROZEN, "--name", BESIDE])?;
    let beside = identity(place, BESIDE)?;
    check(alike(&first, &beside) == 0, || format!("{first}\n{beside}"))?;
    answers(place, BESIDE)
}

/// Whether the provider's clusters have a default storage class.
fn stores(place: &Place, provider: &str) -> Result<bool, String> {
    let shown = place.json(&["provider", "show", provider])?;
    let addons = shown["addons"].as_array();
    let addons = addons.ok_or_else(|| format!("no list of add-ons in {shown}"))?;
    Ok(addons.iter().any(|addon| addon == "local-storage"))
}

/// The cluster, each kubelet and the runtime are of the versions that the provider names.
fn is_of_the_version(place: &Place, provider: &str) -> Outcome {
    let shown = place.json(&["provider", "show", provider])?;
    let wanted = shown["cluster"]["kubernetes"].as_str().unwrap_or_default();
    let server: Value = serde_json::from_str(&place.run(&["kubectl", "version", "-o", "json"])?)
        .map_err(|error| error.to_string())?;
    check(server["serverVersion"]["gitVersion"] == wanted, || {
        format!("{server}, not {wanted}")
    })?;
    let query = "jsonpath={range .items[*].status.nodeInfo}{.kubeletVersion} {.containerRuntimeVersion}{\"\\n\"}{end}";
    let nodes = place.run(&["kubectl", "get", "nodes", "-o", query])?;
    let runtime = shown["components"]["containerd"].as_str().unwrap_or_default();
    let is_right =
        |line: &str| line.starts_with(&format!("{wanted} containerd://")) && line.contains(runtime);
    check(nodes.lines().count() == 3 && nodes.lines().all(is_right), || {
        format!("{nodes}, not {wanted} on {runtime}")
    })
}

/// No container of the thawed cluster had to be started a second time.
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

/// A volume of the default storage class takes `line`, and has all `lines` then.
fn keeps(place: &Place, line: &str, lines: &str) -> Outcome {
    let manifest = VOLUME
        .replace("@IMAGE@", &workload::etcd_image(place, "default")?)
        .replace("@LINE@", line);
    place.feed(&["kubectl", "apply", "-f", "-"], &manifest)?;
    let pod = format!("pod/volume-{line}");
    eventually("what is in the volume", Duration::from_secs(60), || {
        let said = place.run(&["kubectl", "logs", &pod])?;
        let said: Vec<&str> = said.split_whitespace().collect();
        check(said.join(" ") == lines, || format!("{said:?}, not {lines}"))
    })
}

/// A line for each file that tells the cluster `name` from others.
fn identity(place: &Place, name: &str) -> Result<String, String> {
    place.run(&["--name", name, "exec", "node01", "--", "sh", "-c", IDENTITY])
}

/// How many lines two identities have in common.
fn alike(one: &str, other: &str) -> usize {
    one.lines()
        .filter(|line| other.lines().any(|theirs| theirs == *line))
        .count()
}
