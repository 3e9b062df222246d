//! Readiness ignores the frozen status, and a timeout names the cause.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::age::age;
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, Place, check};
use parbake_test_support::variant::Variant;

/// The timeout of each start, with two more at the same time.
const WAIT: Duration = Duration::from_secs(22);
/// How much longer than `--wait` a failing start may take: diagnosis and clean-up.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// A cluster that cannot start.
struct Doomed {
    /// The name of the artifact and of the cluster.
    name: &'static str,
    /// How many nodes are started.
    nodes: &'static str,
    /// What the error contains.
    message: &'static [&'static str],
}

/// Three clusters that cannot start each time out with one error that names the cause, and leave nothing. They run in
/// parallel, since they mostly wait.
pub(crate) fn time_outs(place: &Place) -> Outcome {
    let doomed = [control_plane(place)?, workers(place)?, pod(place)?];
    let before = Leftovers::list(place.dir())?;
    let outcomes = thread::scope(|scope| {
        let running = doomed
            .each_ref()
            .map(|doomed| scope.spawn(|| fails(place, doomed)));
        running.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    for doomed in &doomed {
        place.run(&["artifact", "remove", doomed.name])?;
    }
    outcomes.into_iter().collect::<Outcome>()?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

/// A control plane that cannot start: one manifest has an unknown flag, another is not a manifest.
fn control_plane(place: &Place) -> Result<Doomed, String> {
    let mut variant = Variant::from_baked(place)?;
    let manifest = "etc/kubernetes/manifests/kube-apiserver.yaml";
    let text = variant.read("machine/node01", manifest)?;
    let broken = text.replace(
        "    - kube-apiserver\n",
        "    - kube-apiserver\n    - --no-such-flag\n",
    );
    check(broken != text, || format!("no command in:\n{text}"))?;
    variant.write("machine/node01", manifest, &broken)?;
    variant.write(
        "machine/node01",
        "etc/kubernetes/manifests/kube-scheduler.yaml",
        "kind: [",
    )?;
    variant.put("broken")?;
    Ok(Doomed {
        name: "broken",
        nodes: "1",
        message: &[
            "s waiting for the cluster to be ready; last seen:",
            "\n    API: ",
            "\n    DNS on node `node01`: ",
            "\n  what failed:\n",
            "node `node01`: container `kube-apiserver` of pod `kube-system/kube-apiserver-node01` ended with exit \
             code 1",
            "\n      | Error: unknown flag: --no-such-flag\n",
            "node `node01`: no container was created for `/etc/kubernetes/manifests/kube-scheduler.yaml`",
            "Could not process manifest file",
            "\n  next: ",
        ],
    })
}

/// Two workers that never become ready, one without a kubelet and one without a machine. Their status in the database is from
/// the bake, which seems to be in the future.
fn workers(place: &Place) -> Result<Doomed, String> {
    let mut variant = Variant::from_baked(place)?;
    age(&mut variant, -SHIFT)?;
    variant.write(
        "machine/node02",
        "var/lib/kubelet/config.yaml",
        "kind: Nonsense\n",
    )?;
    variant.write(
        "machine/node03",
        "etc/systemd/system/containerd.service.d/zz-end.conf",
        "[Service]\nExecStartPre=systemctl poweroff --force --force\n",
    )?;
    variant.put("lonely")?;
    Ok(Doomed {
        name: "lonely",
        nodes: "3",
        message: &[
            "\n    node `node02`: lease not renewed since boot",
            "\n    node `node03`: lease not renewed since boot",
            "node `node02`: service `kubelet` is ",
            ", restarts: ",
            "Object 'apiVersion' is missing in 'kind: Nonsense",
            "node `node03`: its machine has ended",
            "\n  next: ",
        ],
    })
}

/// A pod that ran when the cluster was frozen and crashes now.
fn pod(place: &Place) -> Result<Doomed, String> {
    let mut variant = Variant::from_baked(place)?;
    let other = variant.file("etcdctl", "usr/bin/etcdctl")?;
    variant.change("image/coredns", |tree| {
        let program = tree.join("var/lib/parbake/images/coredns/0/coredns");
        check(program.is_file(), || format!("no {}", program.display()))?;
        fs::copy(&other, &program)
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    variant.put("crashing")?;
    Ok(Doomed {
        name: "crashing",
        nodes: "1",
        message: &[
            "\n    pod `kube-system/coredns-",
            "\n    DNS on node `node01`: ",
            "node `node01`: container `coredns` of pod `kube-system/coredns-",
            "\n      | Error: unknown command \"/etc/coredns/Corefile\" for \"etcdctl\"",
            "\n  next: ",
        ],
    })
}

/// Two years, ignoring leap days.
const SHIFT: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// Artifacts baked two years ago and two years in the future start: nothing in them expires.
pub(crate) fn clock(place: &Place) -> Outcome {
    for (tag, shift) in [("old", SHIFT), ("future", -SHIFT)] {
        let mut variant = Variant::from_baked(place)?;
        let baked = variant.draft.created;
        age(&mut variant, shift)?;
        variant.with_tag(place, tag, || {
            let before = Leftovers::list(place.dir())?;
            place.json(&["up", tag, "--nodes", "1", "--name", tag])?;
            let made = [
                "get",
                "namespace",
                "kube-system",
                "-o=jsonpath={.metadata.creationTimestamp}",
            ];
            let made = place.run(&[&["kubectl", "--name", tag], made.as_slice()].concat())?;
            let status = place.json(&["status", "--name", tag])?;
            place.run(&["down", "--name", tag])?;
            // The cluster's own timestamps confirm that the database was changed, and the cluster is healthy.
            let made: Timestamp = made.parse().map_err(|error| format!("{made}: {error}"))?;
            let shifted = baked.duration_since(made) - shift;
            check(shifted.abs() < SignedDuration::from_hours(24), || {
                format!("baked at {baked}, but kube-system is of {made}")
            })?;
            check(status["nodes"][0]["ready"] == Value::Bool(true), || {
                status.to_string()
            })?;
            Leftovers::list(place.dir())?.nothing_new_since(&before)
        })?;
    }
    Ok(())
}

/// The start fails in time, with one error that contains all expected texts.
fn fails(place: &Place, doomed: &Doomed) -> Outcome {
    let Doomed { name, nodes, message } = doomed;
    let wait = format!("{}s", WAIT.as_secs());
    let started = Instant::now();
    place.refused(
        &["up", name, "--name", name, "--nodes", nodes, "--wait", &wait],
        message,
    )?;
    let took = started.elapsed();
    check(took < WAIT + AFTERWARDS, || format!("`{name}` took {took:?}"))
}
