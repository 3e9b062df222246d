//! The Kubernetes conformance suite on a thawed cluster of three nodes.

use serde_json::Value;

use parbake_test_support::other_state_dir::Other;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

/// The name of the add-on, artifact, cluster and state directory.
const NAME: &str = "conformance";
/// The bake.
const PROVISION: [&str; 6] = ["provision", PROVIDER, "--addon", NAME, "--tag", NAME];
/// The least number of cases.
const FEWEST: u64 = 60;

/// Starts the bake in another state directory: the tests that follow leave one CPU idle.
pub(crate) fn begins(place: &Place) -> Outcome {
    let child = Other::new(place, NAME)?.spawn(place, &PROVISION)?;
    *place.beside.lock().map_err(|error| error.to_string())? = Some(child);
    Ok(())
}

/// All quick cases pass.
pub(crate) fn quick(place: &Place) -> Outcome {
    let other = Other::new(place, NAME)?;
    let bake = place.beside.lock().map_err(|error| error.to_string())?.take();
    if let Some(mut bake) = bake {
        bake.wait().map_err(|error| error.to_string())?;
    }
    // Does nothing if the bake succeeded; otherwise repeats it and reports the failure.
    other.run(place, &PROVISION)?;
    let refused =
        |words: &[&str], message: &str| place.refused(&[&["--dir", &other.text], words].concat(), &[message]);
    refused(
        &["conformance", "--name", NAME, "--quick"],
        "no cluster `conformance`",
    )?;
    other.run(place, &["up", NAME, "--name", NAME])?;
    let listed = other.run(place, &["--name", NAME, "conformance", "--list"])?;
    check(listed.lines().count() > 400, || listed.clone())?;
    refused(
        &["--name", NAME, "conformance", "--focus", "no case is called that"],
        "no conformance case matches",
    )?;
    let words = ["--name", NAME, "conformance", "--quick", "--parallel", "4"];
    let report: Value = other.json(place, &words)?;
    let passed = report["passed"].as_u64();
    check(
        report["failed"] == 0 && report["nodes"] == 3 && passed >= Some(FEWEST),
        || format!("{report:#}"),
    )?;
    other.run(place, &["down", "--name", NAME])?;
    other.clear()
}
