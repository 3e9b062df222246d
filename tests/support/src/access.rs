//! Everyday use of a running cluster: images, logs, files, kubeconfig, port forwarding.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use parbake_artifact::Digest;
use serde_json::{Value, json};

use crate::identity::PRINT;
use crate::place::{Outcome, Place, check, eventually};
use crate::secrets::{Kind, secrets};

/// A statically linked program, and what it prints.
pub const PROGRAM: (&str, &str) = ("/usr/bin/etcdctl", "etcdctl version: ");

/// Runs a program of the host in `dir` and returns its standard output.
pub fn tool(words: &[&str], dir: &Path) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(dir).output();
    let output = output.map_err(|error| format!("{words:?}: {error}"))?;
    check(output.status.success(), || {
        format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Images from files in every common form reach all nodes, and pods run from them.
pub fn images(place: &Place) -> Outcome {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let work = work.path();
    let digest = digest_in_runtime(place, work, image_layout(place, work)?)?;
    let layout = work.join("oci").display().to_string();
    let before = images_of(place, "node02")?;
    place.refused(
        &["image", "load", &layout],
        &["without a full name", "name it with `--as`"],
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
    for (name, content, message) in [
        ("text", &b"no archive"[..], "is not an image archive: "),
        ("cut.tar", &whole[..whole.len() / 2], "is damaged: "),
    ] {
        fs::write(work.join(name), content).map_err(|error| error.to_string())?;
        place.refused(&["image", "load", &file(name)], &[message])?;
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
    for (number, (_, image)) in pods.iter().enumerate() {
        let pod = format!("tool-{number}");
        eventually(&format!("the pod of {image}"), Duration::from_secs(30), || {
            let message = place.run(&["kubectl", "logs", &pod])?;
            check(message.contains(PROGRAM.1), || message.clone())
        })?;
    }
    place
        .run(&["kubectl", "delete", "pods", "-l", "app=tool", "--wait=false"])
        .map(drop)
}

pub fn pod(number: usize, node: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("tool-{number}"), "labels": {"app": "tool"}},
        "spec": {
            "nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "tool", "image": image, "imagePullPolicy": "Never"}],
        },
    })
}

/// The digest by which the runtime knows the image with the manifest `digest`. Docker only keeps config digests.
fn digest_in_runtime(place: &Place, work: &Path, digest: String) -> Result<String, String> {
    let runtime = place.run(&["exec", "node01", "--", "crictl", "version"])?;
    if !runtime.contains("RuntimeName:  docker") {
        return Ok(digest);
    }
    let blob = work.join("oci/blobs").join(digest.replace(':', "/"));
    let manifest = fs::read(blob).map_err(|error| error.to_string())?;
    let manifest: Value = serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
    Ok(manifest["config"]["digest"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn images_of(place: &Place, node: &str) -> Result<String, String> {
    let list = "crictl images --no-trunc | sort";
    place.run(&["exec", node, "--", "sh", "-euc", list])
}

/// Writes an image layout with kubectl to `oci` below `work` and returns the digest of its manifest.
pub fn image_layout(place: &Place, work: &Path) -> Result<String, String> {
    let program = place
        .command(&["exec", "node01", "--", "cat", PROGRAM.0])
        .output();
    let program = program.map_err(|error| error.to_string())?.stdout;
    layout(work, &program, &["/tool", "version"])
}

/// Writes an image layout with one program, the first word of `command`, to `oci` below `work` and returns the digest of
/// its manifest.
pub fn layout(work: &Path, program: &[u8], command: &[&str]) -> Result<String, String> {
    let problem = |error: std::io::Error| error.to_string();
    fs::create_dir_all(work.join("root")).map_err(problem)?;
    fs::create_dir_all(work.join("oci/blobs/sha256")).map_err(problem)?;
    let name = command[0].trim_start_matches('/');
    fs::write(work.join("root").join(name), program).map_err(problem)?;
    tool(&["chmod", "-R", "755", "root"], work)?;
    tool(&["tar", "-C", "root", "-cf", "layer.tar", name], work)?;
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
        "architecture": architecture, "os": "linux", "config": {"Cmd": command},
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

/// Secrets of the cluster that are written to its logs are redacted in an export.
pub fn logs(place: &Place) -> Outcome {
    let work = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let work = work.path();
    let mut known = BTreeSet::new();
    for node in ["node01", "node02", "node03"] {
        let print = |to: &str| place.run(&["exec", node, "--", "sh", "-c", &format!("{{ {PRINT}; }} {to}")]);
        known.extend(secrets(print("")?.as_bytes()));
        print("| systemd-cat --identifier=leak")?;
    }
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let leak = format!("cat {token}; cat {token} >/proc/1/fd/1; echo >/proc/1/fd/1");
    let token = place.run(&["kubectl", "exec", "deployment/web", "--", "/bin/sh", "-c", &leak])?;
    known.extend(secrets(token.as_bytes()));
    let needles: BTreeSet<&str> = known.iter().flat_map(|secret| secret.needles()).collect();
    check(needles.len() > 40 && token.starts_with("eyJ"), || {
        format!("only {} secrets", needles.len())
    })?;
    // The export must contain none of these.
    let shown = place.run(&["logs", "node01"])?;
    check(needles.iter().any(|needle| shown.contains(needle)), || {
        "nothing was leaked".to_owned()
    })?;

    let (dir, archive) = (work.join("logs"), work.join("logs.tar.gz"));
    for path in [&dir, &archive] {
        let path = path.display().to_string();
        let report = place.json(&["logs", "--export", &path])?;
        check(
            report["missing"] == json!([]) && report["files"].as_u64() > Some(30),
            || format!("{report}"),
        )?;
        place.refused(&["logs", "--export", &path], &["already exists"])?;
    }
    tool(
        &["tar", "-xf", "logs.tar.gz", "--transform=s/^logs/packed/"],
        work,
    )?;
    for top in [&dir, &work.join("packed")] {
        let all = contents(top)?;
        for (path, text) in &all {
            let found = needles.iter().find(|needle| text.contains(*needle));
            check(found.is_none(), || {
                format!("`{}` holds {found:?}", path.display())
            })?;
            let odd = secrets(text.as_bytes())
                .into_iter()
                .find(|secret| secret.kind != Kind::Bootstrap);
            check(odd.is_none(), || format!("`{}` holds {odd:?}", path.display()))?;
        }
        let part = |name: &str, message: &str| {
            let found = all
                .iter()
                .any(|(path, text)| path.to_string_lossy().contains(name) && text.contains(message));
            check(found, || format!("no `{message}` in a file like `{name}`"))
        };
        part("node02/journal.log", "[redacted]")?;
        part("pods/default_web-", "[redacted]")?;
        part("node03/kubelet.log", "kubelet[")?;
        part("node01/containerd.log", "containerd[")?;
        part("node01/pods/kube-system_etcd-node01", "etcd")?;
        part("cluster/pods.json", "\"nodeName\": \"node03\"")?;
        part("parbake/cluster.json", "\"phase\": \"up\"")?;
    }
    followed(place)
}

/// Lines written on a node arrive while its log is followed, and no process stays on the node afterwards.
fn followed(place: &Place) -> Outcome {
    let mut child = place.spawn(&["logs", "--follow", "--lines", "1"])?;
    let output = child.stdout.take().ok_or("no output")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let _ = sender.send(lines.any(|line| line.starts_with("node03 ") && line.ends_with(": here I am")));
    });
    let outcome = place
        .run(&[
            "exec",
            "node03",
            "--",
            "sh",
            "-c",
            "sleep 1; echo here I am | systemd-cat --identifier=e2e",
        ])
        .and_then(|_| {
            receiver
                .recv_timeout(Duration::from_secs(15))
                .map_err(|error| error.to_string())
        });
    child
        .kill()
        .and_then(|()| child.wait())
        .map_err(|error| error.to_string())?;
    check(outcome?, || "the line did not come".to_owned())?;
    eventually(
        "the followers in the nodes to end",
        Duration::from_secs(10),
        || {
            let left = place.run(&["exec", "node03", "--", "sh", "-c", "pgrep -x journalctl || true"])?;
            check(left.is_empty(), || left.clone())
        },
    )
}

/// The text of every file below `dir`.
fn contents(dir: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| error.to_string())?.flatten() {
        if entry.path().is_dir() {
            all.extend(contents(&entry.path())?);
        } else {
            let bytes = fs::read(entry.path()).map_err(|error| error.to_string())?;
            all.push((entry.path(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(all)
}

/// Trees are copied into a node and back unchanged, symlinks cannot escape the node, existing files are kept.
pub fn files(place: &Place) -> Outcome {
    let problem = |error: std::io::Error| error.to_string();
    let work = tempfile::tempdir_in(place.dir()).map_err(problem)?;
    let work = work.path();
    let here = |name: &str| work.join(name).display().to_string();
    tool(&["mkdir", "-p", "tree/sub/empty", "outside"], work)?;
    fs::write(work.join("tree/file"), "text").map_err(problem)?;
    fs::write(work.join("tree/sub/large"), vec![7; 20_000_000]).map_err(problem)?;
    tool(&["chmod", "640", "tree/file"], work)?;
    tool(&["chmod", "700", "tree/sub"], work)?;
    tool(&["ln", "-s", "../file", "tree/sub/link"], work)?;
    tool(&["ln", "-s", "/nowhere", "tree/absolute"], work)?;
    let copied = place.json(&["cp", &here("tree"), "node02:/var/tmp"])?;
    let expected = json!({"to": "/var/tmp/tree", "entries": 7, "bytes": 20_000_004, "left_out": []});
    check(copied == expected, || format!("{copied}"))?;
    place.run(&["cp", "node02:/var/tmp/tree", &here("back")])?;
    tool(&["diff", "-r", "--no-dereference", "tree", "back"], work)?;
    let list = |top: &str| tool(&["find", top, "-printf", "%P %M %U:%G %l\\n"], work);
    check(list("tree")? == list("back")?, || {
        "modes, owners or links differ".to_owned()
    })?;
    for (words, message) in [
        (
            ["cp", &here("tree"), "node02:/var/tmp"],
            "`/var/tmp/tree` already exists",
        ),
        (
            ["cp", "node02:/var/tmp/tree", &here("back/..")],
            "tree` already exists",
        ),
        (
            ["cp", &here("tree/file"), "node02:/none/file"],
            "there is no directory `/none`",
        ),
        (
            ["cp", "node02:/none", &here("x")],
            "there is no file or directory `/none`",
        ),
        (
            ["cp", "node02:/etc/hosts", &here("none/x")],
            "there is no directory `",
        ),
        (["cp", &here("none"), "node02:/"], "No such file or directory"),
        (
            ["cp", &here("tree/file"), "node07:/x"],
            "there is no node `node07`",
        ),
    ] {
        place.refused(&words, &[message])?;
    }
    // A symlink on the node is resolved on the node, not on the host.
    let outside = here("outside");
    let script = format!("mkdir -p {outside} && ln -s {outside} /var/tmp/out");
    place.run(&["exec", "node02", "--", "sh", "-euc", &script])?;
    place.run(&["cp", &here("tree/file"), "node02:/var/tmp/out/file"])?;
    let inside = place.run(&["exec", "node02", "--", "cat", &format!("{outside}/file")])?;
    let escaped = fs::read_dir(&outside).map_err(problem)?.count();
    check(inside == "text" && escaped == 0, || {
        format!("`{inside}`, {escaped} files outside")
    })?;
    let left = place.run(&[
        "exec",
        "node02",
        "--",
        "find",
        "/var/tmp",
        "/root",
        "-name",
        ".parbake-cp*",
    ])?;
    check(left.is_empty(), || left.clone())?;
    place
        .run(&[
            "exec",
            "node02",
            "--",
            "rm",
            "-r",
            "/var/tmp/tree",
            "/var/tmp/out",
        ])
        .map(drop)
}

/// The cluster `name` is merged into a user's kubeconfig and removed from it by `down`.
pub fn kubeconfig(place: &Place, name: &str) -> Outcome {
    let problem = |error: std::io::Error| error.to_string();
    let work = tempfile::tempdir().map_err(problem)?;
    let path = work.path().join("config");
    let file = path.display().to_string();
    let theirs = "# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n\
                  - {name: work, cluster: {server: 'https://work:6443', tls-server-name: x}}\n\
                  contexts:\n- {name: work, context: {cluster: work, user: me}}\n\
                  users:\n- {name: me, user: {token: 'on'}}\n";
    let view = || {
        place.json_of(&[
            "kubectl",
            "--kubeconfig",
            &file,
            "config",
            "view",
            "--raw",
            "-o",
            "json",
        ])
    };
    fs::write(&path, "clusters: [\n").map_err(problem)?;
    place.refused(
        &["kubeconfig", "--name", name, "--merge", &file],
        &["not a valid kubeconfig", "line 1"],
    )?;
    check(
        fs::read_to_string(&path).map_err(problem)? == "clusters: [\n",
        || "it was changed".to_owned(),
    )?;
    fs::write(&path, theirs).map_err(problem)?;
    tool(&["chmod", "640", "config"], work.path())?;
    let before = view()?;
    let context = format!("parbake-{name}");
    for _ in 0..2 {
        // The second time the path comes from `$KUBECONFIG`.
        let output = place
            .command(&["--output", "json", "kubeconfig", "--name", name, "--merge"])
            .env("KUBECONFIG", &path)
            .output();
        let merged: Value =
            serde_json::from_slice(&output.map_err(problem)?.stdout).map_err(|error| error.to_string())?;
        check(
            merged == json!({"file": file, "context": context, "current": false}),
            || format!("{merged}"),
        )?;
    }
    let text = fs::read_to_string(&path).map_err(problem)?;
    check(!text.contains("insecure"), || "nothing is verified".to_owned())?;
    let nodes = place.run(&[
        "kubectl",
        "--kubeconfig",
        &file,
        "--context",
        &context,
        "get",
        "nodes",
        "-o",
        "name",
    ])?;
    check(nodes == "node/node01\n", || nodes.clone())?;
    place.run(&["down", "--name", name])?;
    let after = view()?;
    check(after == before, || format!("{after}"))?;
    let mode = tool(&["stat", "-c", "%a", "config"], work.path())?;
    let files = fs::read_dir(work.path()).map_err(problem)?.count();
    check(mode == "640\n" && files == 1, || {
        format!("mode {mode}, {files} files")
    })
}

/// A service is forwarded to a host port exactly as long as the command runs.
pub fn services(place: &Place) -> Outcome {
    let listed = place.json(&["ports"])?;
    let web = listed
        .as_array()
        .into_iter()
        .flatten()
        .find(|port| port["service"] == "web");
    let address = web.and_then(|web| web["address"].as_str()).unwrap_or_default();
    check(address.ends_with(":80"), || format!("{listed}"))?;
    let mut child = place.spawn(&["ports", "web", "--output", "json"])?;
    let report: Result<Value, _> = child
        .stdout
        .take()
        .ok_or("no output")
        .map(|output| serde_json::Deserializer::from_reader(output).into_iter().next())?
        .ok_or("no report")?;
    let host = report.map_err(|error| error.to_string())?["host"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // Requests reach both pods, including the one on another node.
    let mut served = BTreeSet::new();
    let answered = eventually("answers of both pods", Duration::from_secs(10), || {
        served.insert(request(&host)?);
        check(served.len() == 2, || format!("{served:?}"))
    });
    place.refused(
        &["ports", "web", "--listen", &host],
        &[&format!("could not listen on `{host}`")],
    )?;
    place.refused(&["ports", "nobody"], &["no service `default/nobody`"])?;
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    let ended = child.wait().map_err(|error| error.to_string())?;
    answered?;
    check(kill.is_ok_and(|kill| kill.success()) && ended.success(), || {
        format!("ended with {ended}")
    })?;
    check(request(&host).is_err(), || "the port is still open".to_owned())
}

fn request(host: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(host).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    let asked = stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer));
    asked.map_err(|error| error.to_string())?;
    check(answer.contains("served by web-"), || answer.clone())?;
    Ok(answer)
}
