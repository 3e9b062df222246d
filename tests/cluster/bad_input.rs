//! Bad input is one clear error and changes nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

pub(crate) fn before_a_bake(place: &Place) -> Outcome {
    place.refused(&["provision", "k8s-9.99"], &["k8s-9.99", PROVIDER])?;
    place.refused(&["up", PROVIDER], &[PROVIDER, "parbake provision"])?;
    place.refused(&["down"], &["there is no cluster `default`"])?;
    place.refused(
        &["provision", PROVIDER, "--nodes", "300"],
        &["10.89.0.0/24", "has no room for node `node245`"],
    )?;
    missing_tool(place)?;
    disk_full(place)?;
    let left = fs::read_dir(place.dir())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let left: Vec<_> = left
        .filter(|name| name != "store" && name != "clusters")
        .collect();
    check(left.is_empty(), || format!("{left:?} was left behind"))
}

/// A bake without its tools does not start.
fn missing_tool(place: &Place) -> Outcome {
    let script = "mount --bind /dev/null \"$(command -v mmdebstrap)\" && exec \"$0\" provision k8s-1.34";
    let (code, text) = in_mount_namespace(place, script)?;
    check(
        code == Some(1) && text.contains("apt-get install mmdebstrap"),
        || text.clone(),
    )
}

/// A state directory on a file system of 64 MiB is rejected before anything is done.
fn disk_full(place: &Place) -> Outcome {
    let script = "set -e; mkdir -p \"$PARBAKE_DIR.small\"; mount -t tmpfs -o size=64M tmpfs \"$PARBAKE_DIR.small\"; \
        exec \"$0\" --dir \"$PARBAKE_DIR.small\" provision k8s-1.34";
    let (code, text) = in_mount_namespace(place, script)?;
    let _ = fs::remove_dir(format!("{}.small", place.dir().display()));
    check(code == Some(1) && text.contains("disk space"), || text.clone())
}

/// Runs a shell script, in which `$0` is parbake, with mounts of its own. Returns its exit code and standard error.
fn in_mount_namespace(place: &Place, script: &str) -> Result<(Option<i32>, String), String> {
    let parbake = place.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(parbake.get_program());
    let variables = parbake.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), text))
}

/// A disk that fills up during a bake: one error, and nothing is left.
pub(crate) fn full_disk(place: &Place) -> Outcome {
    let dir = place.dir().join("full");
    let parbake = place.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/full_disk.sh"));
    command.arg(&dir).arg(parbake.get_program());
    for (name, value) in parbake
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
    {
        command.env(name, value);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    fs::remove_dir_all(&dir).map_err(|error| error.to_string())?;
    let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
    check(text.contains("exit 1\n") && errors == 1, || text.clone())?;
    check(text.contains("No space left on device"), || text.clone())?;
    check(
        text.contains("left: \n") && text.trim_end().ends_with("[]"),
        || text.clone(),
    )
}

pub(crate) fn taken_name(place: &Place) -> Outcome {
    place.refused(
        &["up", PROVIDER],
        &["there is a cluster `default` already", "parbake down"],
    )?;
    place.refused(
        &["exec", "node09", "--", "true"],
        &["there is no node `node09`", "node01, node02, node03"],
    )
}

/// A layer with changed bytes.
pub(crate) fn in_the_store(place: &Place) -> Outcome {
    let store = place.dir().join("store");
    let blob = |digest: &str| store.join("blobs").join(digest.replace(':', "/"));
    let read = |path: &Path| -> Result<Value, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let index = read(&store.join("index.json"))?;
    let manifest = read(&blob(
        index["manifests"][0]["digest"].as_str().unwrap_or_default(),
    ))?;
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let machine = layers
        .iter()
        .find(|layer| layer["annotations"]["dev.parbake.layer.title"] == "machine/node01");
    let digest = machine
        .and_then(|layer| layer["digest"].as_str())
        .ok_or("no layer of node01")?;
    let path = blob(digest);
    let bytes = fs::read(&path).map_err(|error| error.to_string())?;
    let mut corrupt = bytes.clone();
    corrupt[bytes.len() / 2] ^= 1;
    let overwrite = |bytes: &[u8]| {
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| error.to_string())
    };
    overwrite(&corrupt)?;
    place.refused(&["artifact", "verify", PROVIDER], &["machine/node01"])?;
    let unpacked = store.join("unpacked").join(&digest["sha256:".len()..][..32]);
    fs::remove_dir_all(&unpacked).map_err(|error| error.to_string())?;
    place.refused(&["up", PROVIDER], &["machine/node01"])?;
    check(!place.dir().join("clusters/default").exists(), || {
        "a cluster was begun".to_owned()
    })?;
    overwrite(&bytes)?;
    place.run(&["artifact", "verify", PROVIDER]).map(drop)
}
