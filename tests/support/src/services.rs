//! What a cluster offers beside Kubernetes: node DNS and a registry.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use parbake_artifact::Digest;
use serde_json::json;

use crate::access::{PROGRAM, image_layout, pod, tool};
use crate::place::{Outcome, Place, check, eventually};

/// The longest time for an answer that needs no server outside the cluster.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Node names resolve on nodes and in pods, and unknown names fail immediately.
pub fn node_names(place: &Place) -> Outcome {
    let ask = |node: &str, name: &str| {
        let line = format!("getent ahostsv4 {name} | head -n 1 || true");
        immediately(name, || place.run(&["exec", node, "--", "sh", "-c", &line]))
    };
    let server = place.run(&["exec", "node03", "--", "cat", "/etc/resolv.conf"])?;
    check(server == "nameserver 10.89.0.11\n", || server.clone())?;
    // Remove the entries of /etc/hosts, so that the server has to answer.
    let hosts = "cp /etc/hosts /run/hosts; echo 127.0.0.1 localhost > /etc/hosts";
    place.run(&["exec", "node02", "--", "sh", "-c", hosts])?;
    for (name, address) in [
        ("node01", "10.89.0.11 "),
        ("node03", "10.89.0.13 "),
        ("registry", "10.89.0.11 "),
        ("nowhere", ""),
        ("nowhere.example.org", ""),
    ] {
        let found = ask("node02", name)?;
        let right = found.starts_with(address) && found.is_empty() == address.is_empty();
        check(right, || format!("`{name}` is {found}"))?;
    }
    place.run(&["exec", "node02", "--", "cp", "/run/hosts", "/etc/hosts"])?;
    // From a pod, through the cluster's DNS.
    let in_pod = |line: &str| place.run(&["kubectl", "exec", "deployment/web", "--", "/bin/sh", "-c", line]);
    let found = in_pod("getent ahostsv4 registry; getent ahostsv4 node03")?;
    check(
        found.contains("10.89.0.11 ") && found.contains("10.89.0.13 "),
        || found.clone(),
    )?;
    let nowhere = "nowhere.example.org";
    let found = immediately(nowhere, || in_pod(&format!("getent ahostsv4 {nowhere} || true")))?;
    check(found.is_empty(), || found.clone())
}

/// The result of `ask`, which must come within [`AT_ONCE`] in one of five attempts: a busy host may be slow once, but an
/// unreachable server takes 5 s each time (resolv.conf(5)).
fn immediately(what: &str, ask: impl Fn() -> Result<String, String>) -> Result<String, String> {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let found = ask()?;
        fastest = fastest.min(started.elapsed());
        if fastest < AT_ONCE {
            return Ok(found);
        }
    }
    Err(format!("`{what}` took {fastest:?}"))
}

/// The host's address of the registry of the cluster `name`.
fn registry(place: &Place, name: &str) -> Result<String, String> {
    let report = place.json(&["registry", "--name", name])?;
    let port = report["host"].as_str().unwrap_or_default();
    let status = place.json(&["status", "--name", name])?;
    let listed = json!({"host": port, "cluster": "10.89.0.11:5000"});
    let ports = status["ports"].as_array().into_iter().flatten();
    check(
        report["cluster"] == "registry:5000" && ports.clone().any(|port| *port == listed),
        || format!("{report} {status}"),
    )?;
    Ok(port.to_owned())
}

/// An image pushed by the host runs as a pod on other nodes.
pub fn images(place: &Place) -> Outcome {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    image_layout(place, work.path())?;
    let to = format!("docker://{}/tools/tool:1", registry(place, "default")?);
    let copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false"];
    let copy = [copy.as_slice(), &["--digestfile=digest", "oci:oci", &to]].concat();
    tool(&copy, work.path())?;
    let digest = fs::read_to_string(work.path().join("digest")).map_err(|error| error.to_string())?;
    for (number, image) in [
        (7, "registry:5000/tools/tool:1".to_owned()),
        (8, format!("registry:5000/tools/tool@{digest}")),
    ] {
        let mut pod = pod(number, "node03", &image);
        pod["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
        place.feed(&["kubectl", "apply", "-f", "-"], &pod.to_string())?;
    }
    for number in [7, 8] {
        let name = format!("tool-{number}");
        eventually(&name, Duration::from_secs(30), || {
            let message = place.run(&["kubectl", "logs", &name])?;
            check(message.contains(PROGRAM.1), || message.clone())
        })?;
    }
    place
        .run(&["kubectl", "delete", "pods", "-l", "app=tool", "--wait=false"])
        .map(drop)
}

/// The content of the pushed artifact: one file.
const FILE: &[u8] = b"what was pushed";

/// Pushes a small artifact to the registry of the cluster `name`. Returns the registry's host address.
pub fn push(place: &Place, name: &str) -> Result<String, String> {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let port = registry(place, name)?;
    let layout = work.path().join("oci");
    write_layout(&layout).map_err(|error| error.to_string())?;
    let to = format!("docker://{port}/small:1");
    let copy = [
        "skopeo",
        "copy",
        "-q",
        "--preserve-digests",
        "--dest-tls-verify=false",
    ];
    let copy = [copy.as_slice(), &["oci:oci", &to]].concat();
    tool(&copy, work.path())?;
    Ok(port)
}

fn write_layout(layout: &Path) -> std::io::Result<()> {
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let blob = |media_type: &str, content: &[u8]| {
        let digest = Digest::of(content);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), content)?;
        let media_type = format!("application/vnd.oci.image.{media_type}");
        std::io::Result::Ok(
            json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()}),
        )
    };
    let layer = blob("layer.v1.tar", FILE)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blob("config.v1+json", config.to_string().as_bytes())?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// The artifact of [`push`] is in the registry of the cluster `name`. Returns the registry's host address.
pub fn is_pushed(place: &Place, name: &str) -> Result<String, String> {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let port = registry(place, name)?;
    let from = format!("docker://{port}/small:1");
    let copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", &from, "dir:got"];
    tool(&copy, work.path())?;
    let digest = Digest::of(FILE);
    let got = fs::read(work.path().join("got").join(digest.hex())).map_err(|error| error.to_string())?;
    check(got == FILE, || format!("{} bytes", got.len()))?;
    Ok(port)
}
