//! A project's pin is written, used offline and updated.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use parbake_test_support::other_state_dir::Other;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};
use parbake_test_support::registry::Registry;
use parbake_test_support::variant::Variant;

/// Pins a published artifact, starts it with and without the registry, publishes another one, and updates the pin.
pub(crate) fn project(place: &Place) -> Outcome {
    let registry = Registry::start(place, None)?;
    let tagged = registry.reference("pinned/k8s:v5");
    let latest = registry.reference("pinned/k8s:latest");
    let published = place.json(&["publish", PROVIDER, &tagged, "--latest", "--plain-http"])?;
    let first = published["digest"].as_str().unwrap_or_default().to_owned();
    check(published["latest"] == latest, || format!("{published}"))?;

    let other = Other::new(place, "project")?;
    let project = place.dir().join("others/project-files");
    let below = project.join("src/deep");
    fs::create_dir_all(&below).map_err(|error| error.to_string())?;
    let refused = |words: &[&str], message: &str| {
        let output = parbake(place, &other, &below, words);
        output
            .err()
            .filter(|error| error.contains(message))
            .map(drop)
            .ok_or_else(|| format!("{words:?} did not say `{message}`"))
    };
    refused(&["up"], "parbake pin REFERENCE")?;
    refused(&["pin", "--update"], "parbake pin REFERENCE")?;
    refused(
        &["pin", &registry.reference("pinned/none"), "--plain-http"],
        "not found",
    )?;
    let short = registry.reference("pinned/k8s");
    let pinned = json(place, &other, &project, &["pin", &short, "--plain-http"])?;
    check(pinned["artifact"] == format!("{latest}@{first}"), || {
        format!("{pinned}")
    })?;
    let file = project.join("parbake.toml");
    let read = || fs::read_to_string(&file).map_err(|error| error.to_string());
    let text = format!("# our cluster\n{}# end\n", read()?);
    fs::write(&file, &text).map_err(|error| error.to_string())?;

    // From a subdirectory: pulled by digest on first use.
    let up = json(place, &other, &below, &["up", "--nodes", "1"])?;
    other.run(place, &["down"])?;
    check(up["digest"] == first.as_str(), || format!("{up}"))?;
    let name = format!("k8s-{}", &first["sha256:".len()..][..12]);
    check(up["artifact"] == name.as_str(), || format!("{up}"))?;
    check(
        other.json(place, &["artifact", "list"])?[0]["digest"] == first.as_str(),
        || "the pinned artifact is not listed".to_owned(),
    )?;
    let same = json(place, &other, &below, &["pin", "--update"])?;
    check(same["before"] == same["artifact"] && read()? == text, || {
        format!("{same}")
    })?;

    // `latest` refers to another artifact now; the pin does not move by itself.
    let next = registry.reference("pinned/k8s:v6");
    Variant::with_other_creation_time(place)?.with_tag(place, "second", || {
        place
            .run(&["publish", "second", &next, "--latest", "--plain-http"])
            .map(drop)
    })?;
    let pulled = other.json(place, &["pull", &short, "--plain-http", "--tag", "k8s"])?;
    let second = pulled["digest"].as_str().unwrap_or_default().to_owned();
    check(second != first, || "it is the same artifact".to_owned())?;
    check(read()? == text, || "the pin has moved".to_owned())?;
    let updated = json(place, &other, &below, &["pin", "--update"])?;
    check(
        updated["before"] == format!("{latest}@{first}")
            && updated["artifact"] == format!("{latest}@{second}"),
        || format!("{updated}"),
    )?;
    check(read()? == text.replace(&first, &second), || {
        "more than the digest has changed".to_owned()
    })?;

    // The store has it under another name, so the registry is not asked.
    drop(registry);
    let up = json(place, &other, &below, &["up", "--nodes", "1"])?;
    other.run(place, &["down"])?;
    check(up["digest"] == second.as_str() && up["artifact"] == "k8s", || {
        format!("{up}")
    })?;
    refused(&["pin", "--update"], "cannot reach the registry")?;
    // An artifact that was baked here has no known registry; a pulled one has.
    let made = place.command(&["pin", PROVIDER]).current_dir(&below).output();
    let made = made.map_err(|error| error.to_string())?;
    let message = String::from_utf8_lossy(&made.stderr);
    check(
        made.status.code() == Some(1) && message.contains("was made on this host"),
        || message.into_owned(),
    )?;
    check(read()? == text.replace(&first, &second), || {
        "the pin has changed".to_owned()
    })?;
    fs::remove_dir_all(&project).map_err(|error| error.to_string())?;
    other.clear()
}

/// Runs parbake in a directory. The error contains its standard error.
fn parbake(place: &Place, other: &Other, dir: &Path, words: &[&str]) -> Result<String, String> {
    let mut command: Command = place.command(&[&["--dir", &other.text], words].concat());
    let output = command
        .current_dir(dir)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn json(place: &Place, other: &Other, dir: &Path, words: &[&str]) -> Result<Value, String> {
    let text = parbake(place, other, dir, &[&["--output", "json"], words].concat())?;
    serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
}
