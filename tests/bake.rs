//! The bake and what comes of it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Outcome, PROVIDER, Place, check};
use crate::identity;

/// What a 3-node artifact may take, compressed.
const SIZE: u64 = 350_000_000;

pub(crate) fn provision(place: &Place) -> Outcome {
    identity::watched(place, || {
        let report = place.json(&["provision", PROVIDER])?;
        check(report["unchanged"] == false && report["nodes"] == 3, || {
            format!("{report}")
        })?;
        check(report["size"].as_u64().is_some_and(|size| size < SIZE), || {
            format!("too large: {report}")
        })
    })?;
    place.run(&["artifact", "verify", PROVIDER]).map(drop)
}

pub(crate) fn again(place: &Place) -> Outcome {
    let started = Instant::now();
    let report = place.json(&["provision", PROVIDER])?;
    check(report["unchanged"] == true, || format!("{report}"))?;
    let took = started.elapsed();
    check(took < Duration::from_secs(15), || {
        format!("nothing to do took {took:?}")
    })
}

/// A bake under another tag that is killed changes nothing, and the next one starts as if it had never been.
pub(crate) fn killed(place: &Place) -> Outcome {
    let before = place.run(&["--output", "json", "artifact", "list"])?;
    let words = ["provision", PROVIDER, "--nodes", "1", "--tag", "one"];
    place.kill_after(&words, Duration::from_secs(6))?;
    check(
        place.run(&["--output", "json", "artifact", "list"])? == before,
        || "the store changed".to_owned(),
    )?;
    let report = place.json(&words)?;
    check(report["nodes"] == 1, || format!("{report}"))?;
    let left = fs::read_dir(place.dir().join("bake")).map_err(|error| error.to_string())?;
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    check(!left.contains(&"one".into()), || format!("{left:?}"))?;
    place.run(&["artifact", "remove", "one"]).map(drop)
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
