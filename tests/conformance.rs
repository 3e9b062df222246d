//! Kubernetes' own conformance suite on a thawed cluster of three nodes.

use crate::harness::{Outcome, PROVIDER, Place, check};

/// What it is called, artifact and cluster.
const NAME: &str = "conformance";

/// The quick cases all hold.
pub(crate) fn quick(place: &Place) -> Outcome {
    place.refused(
        &["conformance", "--name", "none", "--quick"],
        &["no cluster `none`"],
    )?;
    place.run(&["provision", PROVIDER, "--addon", NAME, "--tag", NAME])?;
    place.run(&["up", NAME, "--name", NAME])?;
    let listed = place.run(&["--name", NAME, "conformance", "--list"])?;
    check(listed.lines().count() > 400, || listed.clone())?;
    place.refused(
        &["--name", NAME, "conformance", "--focus", "no case is called that"],
        &["no conformance case is left"],
    )?;
    let report = place.json(&["--name", NAME, "conformance", "--quick", "--parallel", "4"])?;
    check(
        report["failed"] == 0 && report["passed"].as_u64() >= Some(60),
        || format!("{report:#}"),
    )?;
    println!(
        "{} cases passed on Kubernetes {}, {} nodes, in {} s",
        report["passed"], report["kubernetes"], report["nodes"], report["seconds"]
    );
    place.run(&["down", "--name", NAME])?;
    Ok(())
}
