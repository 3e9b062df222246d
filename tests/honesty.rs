//! Readiness never believes what the frozen database says, and a time-out says who is to blame.

use std::fs;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::age::age;
use crate::harness::{Outcome, Place, check};
use crate::listing::Listing;
use crate::variant::Variant;

/// How much longer than `--wait` a start that fails may take: the diagnosis, and removing everything.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// A control plane that cannot start: one manifest has a flag that does not exist, another is no manifest at all.
pub(crate) fn control_plane(place: &Place) -> Outcome {
    let mut variant = Variant::begin(place)?;
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
    variant.try_as(place, "broken", || {
        fails(
            place,
            &["up", "broken", "--name", "broken", "--nodes", "1", "--wait", "10s"],
            &[
                "s waiting for the cluster to be ready; last seen:",
                "\n  API: ",
                "\n  DNS on node `node01`: ",
                "\nwhat failed:\n",
                "node `node01`: container `kube-apiserver` of pod `kube-system/kube-apiserver-node01` ended with exit \
                 code 1",
                "\n    | Error: unknown flag: --no-such-flag\n",
                "node `node01`: no container was made for `/etc/kubernetes/manifests/kube-scheduler.yaml`",
                "Could not process manifest file",
                "\nnext: ",
            ],
        )
    })
}

/// Two workers that never come, one without a kubelet and one without a machine: what the database says of them is from
/// the bake, which seems to lie in the future.
pub(crate) fn workers(place: &Place) -> Outcome {
    let mut variant = Variant::begin(place)?;
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
    variant.try_as(place, "lonely", || {
        fails(
            place,
            &["up", "lonely", "--name", "lonely", "--wait", "20s"],
            &[
                "\n  node `node02`: lease not renewed since boot",
                "\n  node `node03`: lease not renewed since boot",
                "node `node02`: service `kubelet` is ",
                ", restarts: ",
                "Object 'apiVersion' is missing in 'kind: Nonsense",
                "node `node03`: its machine has ended",
                "\nnext: ",
            ],
        )
    })
}

/// A pod that ran when the cluster was frozen, as the database says, and crashes now.
pub(crate) fn pod(place: &Place) -> Outcome {
    let mut variant = Variant::begin(place)?;
    let other = variant.file("etcdctl", "usr/bin/etcdctl")?;
    variant.change("image/coredns", |tree| {
        let program = tree.join("var/lib/parbake/images/coredns/0/coredns");
        check(program.is_file(), || format!("no {}", program.display()))?;
        fs::copy(&other, &program)
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    variant.try_as(place, "crashing", || {
        fails(
            place,
            &[
                "up", "crashing", "--name", "crashing", "--nodes", "1", "--wait", "16s",
            ],
            &[
                "\n  pod `kube-system/coredns-",
                "\n  DNS on node `node01`: ",
                "node `node01`: container `coredns` of pod `kube-system/coredns-",
                "\n    | Error: unknown command \"/etc/coredns/Corefile\" for \"etcdctl\"",
                "\nnext: ",
            ],
        )
    })
}

/// Two years, give or take a leap day.
const SHIFT: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// A cluster of a bake two years ago, and one of a bake two years ahead of the host's clock: nothing in them expires.
pub(crate) fn clock(place: &Place) -> Outcome {
    for (tag, shift) in [("old", SHIFT), ("future", -SHIFT)] {
        let mut variant = Variant::begin(place)?;
        let baked = variant.draft.created;
        age(&mut variant, shift)?;
        variant.try_as(place, tag, || {
            let before = Listing::take(place.dir())?;
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
            // The cluster believes it, so the database is of another time indeed; and it is well all the same.
            let made: Timestamp = made.parse().map_err(|error| format!("{made}: {error}"))?;
            let shifted = baked.duration_since(made) - shift;
            check(shifted.abs() < SignedDuration::from_hours(24), || {
                format!("baked at {baked}, but kube-system is of {made}")
            })?;
            check(status["nodes"][0]["ready"] == Value::Bool(true), || {
                status.to_string()
            })?;
            Listing::take(place.dir())?.nothing_new(&before)
        })?;
    }
    Ok(())
}

/// Runs parbake, which must fail in time with one error that holds all of `said`, and leave nothing.
fn fails(place: &Place, words: &[&str], said: &[&str]) -> Outcome {
    let before = Listing::take(place.dir())?;
    let wait = words.last().and_then(|wait| wait.strip_suffix('s'));
    let wait = wait.and_then(|seconds| seconds.parse().ok());
    let wait = Duration::from_secs(wait.ok_or("no time to wait")?);
    let started = Instant::now();
    place.refused(words, said)?;
    let took = started.elapsed();
    check(took < wait + AFTERWARDS, || format!("it took {took:?}"))?;
    Listing::take(place.dir())?.nothing_new(&before)
}
