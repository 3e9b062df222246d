//! Daily access to a running cluster.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use parbake_artifact::Digest;
use serde_json::{Value, json};

use crate::harness::{Outcome, Place, check, eventually};

/// A program that needs no other file, and what it prints.
const PROGRAM: (&str, &str) = ("/usr/bin/etcdctl", "etcdctl version: ");

/// Runs a tool of the host.
fn tool(words: &[&str], dir: &Path) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(dir).output();
    let output = output.map_err(|error| format!("{words:?}: {error}"))?;
    check(output.status.success(), || {
        format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Images that no artifact has reach every node, in all forms that tools write, and pods run from them.
pub(crate) fn images(place: &Place) -> Outcome {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let work = work.path();
    let digest = layout(place, work)?;
    let layout = work.join("oci").display().to_string();
    let before = images_of(place, "node02")?;
    place.refused(
        &["image", "load", &layout],
        &["has no name; give it one with `--as`"],
    )?;
    tool(
        &[
            "skopeo",
            "copy",
            "-q",
            "oci:oci",
            "docker-archive:d.tar:e2e.test/tool:docker",
        ],
        work,
    )?;
    tool(
        &[
            "skopeo",
            "copy",
            "-q",
            "oci:oci",
            "oci-archive:o.tar:e2e.test/tool:oci",
        ],
        work,
    )?;
    tool(&["gzip", "-1", "d.tar"], work)?;
    tool(&["zstd", "-q", "o.tar"], work)?;
    let file = |name: &str| work.join(name).display().to_string();
    let whole = fs::read(work.join("o.tar")).map_err(|error| error.to_string())?;
    for (name, content, said) in [
        ("text", &b"no archive"[..], "is no image archive: "),
        ("cut.tar", &whole[..whole.len() / 2], "is damaged: "),
    ] {
        fs::write(work.join(name), content).map_err(|error| error.to_string())?;
        place.refused(&["image", "load", &file(name)], &[said])?;
    }
    check(images_of(place, "node02")? == before, || {
        "what is refused changed something".to_owned()
    })?;
    let loaded = place.json(&["image", "load", &layout, "--as", "tool:layout"])?;
    let expected = json!({
        "images": [{"name": "docker.io/library/tool:layout", "digest": digest}],
        "nodes": ["node01", "node02", "node03"],
    });
    check(loaded == expected, || format!("{loaded}"))?;
    for (name, image) in [
        ("d.tar.gz", "e2e.test/tool:docker"),
        ("o.tar.zst", "e2e.test/tool:oci"),
    ] {
        let loaded = place.json(&["image", "load", &file(name)])?;
        check(loaded["images"][0]["name"] == image, || format!("{loaded}"))?;
    }
    let pods = [
        ("node02", "tool:layout"),
        ("node03", "e2e.test/tool:docker"),
        ("node02", "e2e.test/tool:oci"),
    ];
    let items: Vec<Value> = pods
        .iter()
        .enumerate()
        .map(|(number, (node, image))| pod(number, node, image))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    place.feed(&["kubectl", "apply", "-f", "-"], &list.to_string())?;
    for number in 0..pods.len() {
        let pod = format!("tool-{number}");
        eventually(
            &format!("the pod of {}", pods[number].1),
            Duration::from_secs(30),
            || {
                let said = place.run(&["kubectl", "logs", &pod])?;
                check(said.contains(PROGRAM.1), || said.clone())
            },
        )?;
    }
    place
        .run(&["kubectl", "delete", "pods", "-l", "app=tool", "--wait=false"])
        .map(drop)
}

fn pod(number: usize, node: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("tool-{number}"), "labels": {"app": "tool"}},
        "spec": {
            "nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "tool", "image": image, "imagePullPolicy": "Never"}],
        },
    })
}

fn images_of(place: &Place, node: &str) -> Result<String, String> {
    place.run(&[
        "exec",
        node,
        "--",
        "ctr",
        "--namespace=k8s.io",
        "images",
        "ls",
        "-q",
    ])
}

/// Writes the layout of an image with one program to `oci` below `work`; gives the digest of its manifest.
fn layout(place: &Place, work: &Path) -> Result<String, String> {
    let problem = |error: std::io::Error| error.to_string();
    fs::create_dir_all(work.join("root")).map_err(problem)?;
    fs::create_dir_all(work.join("oci/blobs/sha256")).map_err(problem)?;
    let program = place
        .command(&["exec", "node01", "--", "cat", PROGRAM.0])
        .output();
    fs::write(work.join("root/tool"), program.map_err(problem)?.stdout).map_err(problem)?;
    tool(&["chmod", "755", "root/tool"], work)?;
    tool(&["tar", "-C", "root", "-cf", "layer.tar", "tool"], work)?;
    let blob = |media_type: &str, content: &[u8]| {
        let digest = Digest::of(content);
        fs::write(work.join("oci/blobs/sha256").join(digest.hex()), content).map_err(problem)?;
        let media_type = format!("application/vnd.oci.image.{media_type}");
        Ok::<_, String>(json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()}))
    };
    let layer = blob(
        "layer.v1.tar",
        &fs::read(work.join("layer.tar")).map_err(problem)?,
    )?;
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/tool", "version"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blob("config.v1+json", config.to_string().as_bytes())?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(work.join("oci/index.json"), index.to_string()).map_err(problem)?;
    fs::write(work.join("oci/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(problem)?;
    Ok(manifest["digest"].as_str().unwrap_or_default().to_owned())
}
