//! The bake and its artifact.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::addons;
use crate::fixtures::TWO_BAKES;
use parbake_test_support::other_state_dir::Other;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, record_tested};
use parbake_test_support::published::Published;

pub(crate) fn provision(place: &Place) -> Outcome {
    place.run(&["artifact", "verify", PROVIDER])?;
    record_tested(place, PROVIDER, &["bake"])
}

pub(crate) fn again(place: &Place) -> Outcome {
    let started = Instant::now();
    let report = place.json(&["provision", PROVIDER])?;
    check(report["unchanged"] == true, || format!("{report}"))?;
    let took = started.elapsed();
    check(took < Duration::from_secs(15), || {
        format!("nothing to do took {took:?}")
    })?;
    explained(place)
}

/// `--explain` reports the steps and runs none.
fn explained(place: &Place) -> Outcome {
    let same = place.json(&["provision", PROVIDER, "--explain"])?;
    let steps = |report: &Value| report["steps"].as_array().cloned().unwrap_or_default();
    let all_reused = steps(&same).iter().all(|step| step["verdict"] == "reused");
    check(
        same["unchanged"] == true && all_reused && steps(&same).len() > 20,
        || same.to_string(),
    )?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let kubelet = own.to_str().ok_or("no path")?;
    let other = place.json(&["provision", PROVIDER, "--kubelet", kubelet, "--explain"])?;
    let run: Vec<Value> = steps(&other)
        .into_iter()
        .filter(|step| step["verdict"] == "runs")
        .collect();
    let names: Vec<&str> = run.iter().filter_map(|step| step["step"].as_str()).collect();
    // Images need not be imported again because of another kubelet.
    check(
        names == ["pack kubelet", "bootstrap and freeze the cluster"],
        || other.to_string(),
    )?;
    let inputs = run.iter().map(|step| &step["changed"][0]["input"]);
    check(inputs.into_iter().all(|input| input == "binary kubelet"), || {
        other.to_string()
    })?;
    let again = place.json(&["provision", PROVIDER, "--explain"])?;
    check(again == same, || again.to_string())
}

/// A killed bake under another tag changes nothing, and the next one succeeds. Another bake, in another state directory and
/// used by [`alike`], runs at the same time.
pub(crate) fn killed(place: &Place) -> Outcome {
    let before = place.run(&["--output", "json", "artifact", "list"])?;
    let given = addons::given(place)?;
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let words = [
        &["provision", PROVIDER, "--nodes", "1", "--tag", "one"],
        given.as_slice(),
    ]
    .concat();
    place.kill_after(&words, Duration::from_secs(6))?;
    check(
        place.run(&["--output", "json", "artifact", "list"])? == before,
        || "the store changed".to_owned(),
    )?;
    let elsewhere = [
        &["provision", PROVIDER, "--nodes", "1", "--tag", "again"],
        given.as_slice(),
    ]
    .concat();
    let mut beside = Other::new(place, "alike")?.spawn(place, &elsewhere)?;
    let report = place.json(&words);
    let status = beside.wait().map_err(|error| error.to_string())?;
    check(status.success(), || {
        format!("the bake beside it ended with {status}")
    })?;
    let report = report?;
    check(report["nodes"] == 1, || format!("{report}"))?;
    let left = fs::read_dir(place.dir().join("bake")).map_err(|error| error.to_string())?;
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    check(!left.contains(&"one".into()), || format!("{left:?}"))
}

/// A host without compilers bakes from the public sites, and the cluster works.
pub(crate) fn published(place: &Place) -> Outcome {
    let published = Published::from_bake(place, PROVIDER)?;
    let started = Instant::now();
    let words = ["provision", PROVIDER, "--nodes", "1", "--tag", "published"];
    let [_, log] = published.run(place, &words)?;
    eprintln!(
        "baked from published files in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    check(log.contains("source `auto`: using `release`\n"), || log.clone())?;
    let provenance = place.json(&["artifact", "provenance", "published"])?;
    let build = &provenance["predicate"]["buildDefinition"];
    let inputs = build["resolvedDependencies"].to_string();
    let addon = "oci://docker.io/rancher/local-path-provisioner:v0.0.30";
    check(
        build["externalParameters"]["source"] == "release"
            && inputs.contains(addon)
            && !inputs.contains("\"modules/"),
        || format!("{}: {inputs}", build["externalParameters"]),
    )?;
    record_tested(place, "published", &["bake", "thaw"])?;
    place.run(&["up", "published", "--name", "published"])?;
    place.run(&["down", "--name", "published"])?;
    place.run(&["artifact", "remove", "published"]).map(drop)
}

/// Files that differ between bakes of the same inputs: the databases of containerd and etcd.
const OWN: [(&str, &[&str]); 2] = [
    (
        "runtime",
        &[
            "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
            "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db",
        ],
    ),
    ("machine/node01", &["var/lib/etcd/member/"]),
];

/// Two bakes of the same inputs give the same layers, except for the files listed above.
pub(crate) fn alike(place: &Place) -> Outcome {
    let other = Other::new(place, "alike")?;
    let layout = |dir: &Path, tag: &str| format!("oci:{}:{tag}", dir.join("store").display());
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args([layout(&other.dir, "again"), layout(place.dir(), "again")])
        .output()
        .map_err(|error| format!("skopeo: {error}"))?;
    check(copied.status.success(), || {
        String::from_utf8_lossy(&copied.stderr).into_owned()
    })?;
    let difference = place.json(&["artifact", "diff", "one", "again"])?;
    let layers = difference["layers"].as_array().cloned().unwrap_or_default();
    for layer in &layers {
        let title = layer["title"].as_str().unwrap_or_default();
        let Some((_, own)) = OWN.iter().find(|(own, _)| *own == title) else {
            return Err(format!("the layer `{title}` is another: {layer}"));
        };
        for file in layer["files"].as_array().into_iter().flatten() {
            let path = file["path"].as_str().unwrap_or_default();
            check(own.iter().any(|own| path.starts_with(own)), || {
                format!("in `{title}` another `{path}`: {file}")
            })?;
        }
    }
    // Otherwise this test would compare nothing.
    check(!layers.is_empty(), || format!("no layer differs: {difference}"))?;
    place.run(&["artifact", "remove", "one", "again"])?;
    place.removed(&[&TWO_BAKES])?;
    other.clear()
}

pub(crate) fn layout(place: &Place) -> Outcome {
    let layout = format!("oci:{}:{PROVIDER}", place.dir().join("store").display());
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", &layout])
        .output();
    let output = output.map_err(|error| format!("skopeo: {error}"))?;
    check(output.status.success(), || {
        String::from_utf8_lossy(&output.stderr).into_owned()
    })?;
    let manifest: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let titles = manifest["layers"].as_array().into_iter().flatten();
    let titles: Vec<&str> = titles
        .filter_map(|layer| layer["annotations"]["dev.parbake.layer.title"].as_str())
        .collect();
    for title in [
        "os",
        "kubelet",
        "image/etcd",
        "machine/node01",
        "machine/node02",
        "machine/node03",
    ] {
        check(titles.contains(&title), || {
            format!("`{title}` is not among {titles:?}")
        })?;
    }
    Ok(())
}
