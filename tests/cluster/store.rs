//! The store with running clusters: damage is found and repaired, and layers in use stay.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

/// A file of an unpacked layer that every machine has.
fn os_release(place: &Place) -> Result<PathBuf, String> {
    let artifact = place.json(&["artifact", "inspect", PROVIDER])?;
    let layers = artifact["layers"].as_array().cloned().unwrap_or_default();
    let os = layers.iter().find(|layer| layer["title"] == "os");
    let digest = os
        .and_then(|layer| layer["digest"].as_str())
        .ok_or("no layer `os`")?;
    let unpacked = place
        .dir()
        .join("store/unpacked")
        .join(&digest["sha256:".len()..][..32]);
    Ok(unpacked.join("usr/lib/os-release"))
}

/// A damaged unpacked layer is found, not repaired while a cluster uses it, and repaired afterwards. The layers stay in
/// place meanwhile.
pub(crate) fn damaged(place: &Place) -> Outcome {
    let sound = place.json(&["artifact", "verify"])?;
    check(sound["problems"] == Value::Array(Vec::new()), || {
        format!("{sound}")
    })?;
    let file = os_release(place)?;
    let before = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut corrupt = before.clone();
    corrupt[0] ^= 1;
    fs::write(&file, &corrupt).map_err(|error| error.to_string())?;
    let message = [
        "unpacked layer `os`",
        "`usr/lib/os-release` has different content",
        "--repair",
    ];
    place.refused(&["artifact", "verify", PROVIDER], &message)?;
    let unused = listed(place)?;
    place.run(&["up", PROVIDER, "--nodes", "1"])?;
    let in_use = place.refused(
        &["artifact", "verify", "--repair"],
        &["`usr/lib/os-release`", "`parbake down`"],
    );
    let found = pruned(place, &unused);
    place.run(&["down"])?;
    in_use?;
    found?;
    let would = place.json(&["artifact", "prune", "--keep", "0", "--dry-run"])?;
    check(
        would["removed"][0] == PROVIDER && would["freed_bytes"].as_u64() > Some(500_000_000),
        || format!("{would}"),
    )?;
    let mended = place.json(&["artifact", "verify", "--repair"])?;
    check(mended["repaired"].as_array().map(Vec::len) == Some(1), || {
        format!("{mended}")
    })?;
    check(fs::read(&file).is_ok_and(|bytes| bytes == before), || {
        "it is not mended".to_owned()
    })?;
    place.run(&["artifact", "verify", PROVIDER]).map(drop)
}

fn listed(place: &Place) -> Result<Value, String> {
    Ok(place.json(&["artifact", "list"])?[0].clone())
}

/// What a cluster uses is neither pruned nor removed; a start counts as use and is listed.
fn pruned(place: &Place, before: &Value) -> Outcome {
    let used = listed(place)?;
    check(
        used["last_used"].as_str() > before["last_used"].as_str() && used["clusters"][0] == "default",
        || format!("{before}, then {used}"),
    )?;
    check(
        used["own_bytes"] == used["disk_bytes"] && used["disk_bytes"].as_u64() > Some(500_000_000),
        || format!("{used}"),
    )?;
    let pruned = place.json(&["artifact", "prune", "--keep", "0"])?;
    check(pruned["removed"] == Value::Array(Vec::new()), || {
        format!("{pruned}")
    })?;
    place
        .run(&["exec", "node01", "--", "cat", "/etc/os-release"])
        .map(drop)
}
