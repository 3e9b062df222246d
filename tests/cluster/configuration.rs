//! A cluster with a configuration: limits, labels, mounts, ports, images, manifests, arguments.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use parbake_artifact::Digest;
use serde_json::{Value, json};

use crate::fixtures::{CONFIGURED, CONFIGURED_OPTIONS, CONFIGURED_RESTARTED};

use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually};

const MANIFEST: &str = include_str!("configuration.yaml");
/// The name of the cluster.
const NAME: &str = "configured";
/// Part of the paths of host directories; must not appear in an artifact.
const SECRET: &str = "a-path-of-this-host";
/// Prints what only a configured node has.
const LOOK: &str = "cat /mnt/in/word /mnt/one; echo node > /mnt/out/made; \
    if touch /mnt/in/x 2>/dev/null; then echo writable; fi; \
    cat /proc/sys/net/core/somaxconn; \
    for name in kube-apiserver kubelet; do tr '\\0' '\\n' < /proc/$(pgrep -o -x $name)/cmdline | \
        grep -E -e '^--(max-requests-inflight|max-pods|feature-gates)='; done";
const SEEN: &str = "in\none\n1234\n--feature-gates=ContextualLogging=false\n--max-requests-inflight=123\n\
    --feature-gates=ContextualLogging=false\n--max-pods=40\n";

/// The host port that leads to the service.
static PORT: Mutex<u16> = Mutex::new(0);

fn on(place: &Place, words: &[&str]) -> Result<String, String> {
    place.run(&[&["--name", NAME], words].concat())
}

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn work(place: &Place) -> PathBuf {
    place.dir().join(SECRET)
}

fn port() -> Result<u16, String> {
    PORT.lock().map(|port| *port).map_err(text)
}

/// Writes an image with one empty file as an archive in the format of `docker save`.
fn image(work: &Path) -> Outcome {
    let run = |words: &[&str]| -> Outcome {
        let status = Command::new("tar")
            .args(words)
            .current_dir(work)
            .status()
            .map_err(text)?;
        check(status.success(), || format!("tar {words:?} ended with {status}"))
    };
    fs::write(work.join("empty"), "").map_err(text)?;
    run(&["-cf", "layer.tar", "empty"])?;
    let layer = fs::read(work.join("layer.tar")).map_err(text)?;
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let tags = ["e2e.test/configured:v1"];
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"]}]);
    fs::write(work.join("config.json"), config.to_string()).map_err(text)?;
    fs::write(work.join("manifest.json"), manifest.to_string()).map_err(text)?;
    run(&["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"])
}

/// A free port below the ephemeral range, from which the kernel might otherwise give it to a client while the cluster is
/// stopped (ip(7), `ip_local_port_range`, from 32768).
fn free_port() -> Result<TcpListener, String> {
    let free = (20000..30000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    free.ok_or_else(|| "there is no free port".to_owned())
}

fn file(port: u16) -> String {
    format!(
        r#"count = 1
images = ["image.tar"]
manifests = ["m"]
[all-nodes]
cpus = 1000
[nodes.node01]
role = "control-plane"
cpus = 1.5
memory = "2GiB"
labels = {{ tier = "file", kept = "yes" }}
taints = ["dedicated=ci:PreferNoSchedule"]
sysctls = {{ "net.core.somaxconn" = 1234 }}
[[mounts]]
host = "in"
path = "/mnt/in"
read-only = true
[[mounts]]
host = "one"
path = "/mnt/one"
node = "node01"
[[ports]]
host = {port}
port = 30080
[etcd]
fsync = false
in-memory = true
[api-server]
audit = true
pod-security = "restricted"
[feature-gates]
ContextualLogging = false
[arguments.kube-apiserver]
max-requests-inflight = 123
[arguments.kubelet]
cpu-manager-policy = "static"
kube-reserved = "cpu=100m"
max-pods = 40
"#
    )
}

/// A configuration with mistakes changes nothing; a valid one is applied.
pub(crate) fn made(place: &Place) -> Outcome {
    let work = work(place);
    for dir in ["in", "out", "m"] {
        fs::create_dir_all(work.join(dir)).map_err(text)?;
    }
    fs::write(work.join("in/word"), "in\n").map_err(text)?;
    fs::write(work.join("one"), "one\n").map_err(text)?;
    fs::write(work.join("m/web.yaml"), MANIFEST).map_err(text)?;
    image(&work)?;
    let listener = free_port()?;
    let port = listener.local_addr().map_err(text)?.port();
    *PORT.lock().map_err(text)? = port;
    let config = work.join("cluster.toml");
    let path = config.display().to_string();
    let out = format!("{}:/mnt/out", work.join("out").display());
    let flags = ["--config", &path, "--mount", &out, "--label", "tier=flag"];
    let up = [&["up", PROVIDER, "--name", NAME], flags.as_slice()].concat();
    fs::write(&config, file(port)).map_err(text)?;
    // More CPUs than the host has, and a port in use.
    place.refused(
        &up,
        &["cluster.toml` is not a valid configuration: 1 problem:\n    5:8: the host has "],
    )?;
    fs::write(&config, file(port).replace("cpus = 1000\n", "")).map_err(text)?;
    place.refused(&up, &[&format!("could not listen on `127.0.0.1:{port}`")])?;
    let listed = place.json(&["list"])?;
    check(!listed.to_string().contains(NAME), || format!("{listed}"))?;
    drop(listener);
    place.run(&up)?;
    as_configured(place)?;
    let shown = on(place, &["config", "show"])?;
    let stored = shown.contains(&format!("host = \"{}\"", work.join("in").display()));
    check(stored && shown.contains("count = 1"), || shown.clone())
}

fn as_configured(place: &Place) -> Outcome {
    let node: Value = serde_json::from_str(&on(place, &["kubectl", "get", "node", "node01", "-o", "json"])?)
        .map_err(text)?;
    let allocatable = &node["status"]["allocatable"];
    let right = allocatable["cpu"] == "1400m"
        && allocatable["memory"] == "2Gi"
        && allocatable["pods"] == "40"
        && node["metadata"]["labels"]["tier"] == "flag"
        && node["metadata"]["labels"]["kept"] == "yes"
        && node["spec"]["taints"]
            == json!([{"key": "dedicated", "value": "ci", "effect": "PreferNoSchedule"}]);
    check(right, || format!("{node}"))?;
    let seen = on(place, &["exec", "node01", "--", "sh", "-c", LOOK])?;
    check(seen == SEEN, || seen.clone())?;
    let made = fs::read_to_string(work(place).join("out/made")).map_err(text)?;
    check(made == "node\n", || made.clone())?;
    let host = format!("127.0.0.1:{}", port()?);
    let status = place.json(&["status", "--name", NAME])?;
    let published = json!({"host": host, "cluster": "10.89.0.11:30080"});
    let ports = status["ports"].as_array();
    check(ports.is_some_and(|ports| ports.contains(&published)), || {
        format!("{status}")
    })?;
    eventually("the service", Duration::from_secs(15), || {
        let mut message = String::new();
        let mut service = TcpStream::connect(&host).map_err(text)?;
        service
            .set_read_timeout(Some(Duration::from_secs(5)))
            .map_err(text)?;
        service.read_to_string(&mut message).map_err(text)?;
        check(message == "in\n", || message.clone())
    })
}

/// Pods cannot get more than the node has, and only the process that exceeds the memory limit is killed.
pub(crate) fn limited(place: &Place) -> Outcome {
    let restarts = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
    let others = || {
        on(
            place,
            &["kubectl", "get", "pods", "-n", "kube-system", "-o", restarts],
        )
    };
    let before = others()?;
    let pod = |name: &str, command: &[&str], request: &str| {
        let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true});
        let volume = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path}});
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
            "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "it", "image": "e2e.test/configured:v1", "imagePullPolicy": "Never",
                    "command": command, "resources": {"requests": {"memory": request}},
                    "volumeMounts": [mount("usr"), mount("lib"), mount("lib64")],
                }],
                "volumes": [volume("usr", "/usr"), volume("lib", "/usr/lib"), volume("lib64", "/usr/lib64")],
            },
        })
    };
    // One requests more than the node has, though less than the host has; the other exceeds its node's memory.
    let pods = [
        pod("big", &["/usr/bin/sleep", "infinity"], "3Gi"),
        pod("eater", &["/usr/bin/tail", "/dev/zero"], "1Mi"),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    place.feed(
        &["--name", NAME, "kubectl", "apply", "-f", "-"],
        &list.to_string(),
    )?;
    eventually("the eater to be killed", Duration::from_secs(40), || {
        let reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}";
        let message = on(
            place,
            &["kubectl", "get", "pod", "-n", "demo", "eater", "-o", reason],
        )?;
        check(message == "OOMKilled", || message.clone())
    })?;
    let why = "jsonpath={.status.phase} {.status.conditions[?(@.type=='PodScheduled')].message}";
    let big = on(place, &["kubectl", "get", "pod", "-n", "demo", "big", "-o", why])?;
    check(
        big.starts_with("Pending ") && big.contains("Insufficient memory"),
        || big.clone(),
    )?;
    let after = others()?;
    check(before == after, || format!("{before} became {after}"))?;
    on(
        place,
        &[
            "kubectl",
            "delete",
            "pod",
            "-n",
            "demo",
            "big",
            "eater",
            "--wait=true",
        ],
    )
    .map(drop)
}

/// etcd does not sync to disk, pod security is enforced, the audit log is written, and the kubelet assigns whole CPUs to
/// containers.
pub(crate) fn options(place: &Place) -> Outcome {
    let etcd = "tr '\\0' '\\n' < /proc/$(pgrep -o -x etcd)/cmdline";
    let words = on(place, &["exec", "node01", "--", "sh", "-c", etcd])?;
    check(words.lines().any(|word| word == "--unsafe-no-fsync=true"), || {
        words.clone()
    })?;
    etcd_is_in_memory(place)?;
    policy(place, "static")?;
    on(place, &["kubectl", "create", "namespace", "fresh"])?;
    let bad = [
        "run",
        "bad",
        "-n",
        "fresh",
        "--image=e2e.test/configured:v1",
        "--privileged",
    ];
    let output = place
        .command(&[&["--name", NAME, "kubectl"], bad.as_slice()].concat())
        .output()
        .map_err(text)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = message.contains("violates PodSecurity \"restricted:latest\": privileged");
    check(!output.status.success() && refused, || message.clone())?;
    // Namespaces from the bake are not restricted.
    let standard = "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}";
    for (namespace, expected) in [
        ("local-path-storage", "privileged"),
        ("default", ""),
        ("fresh", ""),
    ] {
        let message = on(place, &["kubectl", "get", "namespace", namespace, "-o", standard])?;
        check(message == expected, || format!("{namespace}: {message}"))?;
    }
    let exported = work(place).join("logs");
    on(place, &["logs", "--export", &exported.display().to_string()])?;
    let log = fs::read_to_string(exported.join("node01/audit/audit.log")).map_err(text)?;
    let request = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        event["verb"] == "create"
            && event["objectRef"]["resource"] == "pods"
            && event["objectRef"]["namespace"] == "fresh"
            && event["user"]["username"] == "kubernetes-admin"
            && event["responseStatus"]["code"] == 403
    };
    check(log.lines().any(request), || format!("nothing of it is in: {log}"))
}

/// etcd's data is in memory, and the copy on disk is older.
fn etcd_is_in_memory(place: &Place) -> Outcome {
    let look = "findmnt --noheadings --output FSTYPE --mountpoint /var/lib/etcd";
    let message = on(place, &["exec", "node01", "--", "sh", "-c", look])?;
    check(message == "tmpfs\n", || message.clone())
}

/// True if etcd's files on the host's disk contain `text`.
fn on_disk(place: &Place, text: &str) -> Result<bool, String> {
    let machine = place.dir().join("clusters").join(NAME).join("machines/node01");
    let found = Command::new("grep")
        .args(["-r", "-q", "-s", "-a", "-e", text])
        .arg(machine.join("upper/var/lib/etcd"))
        .status();
    match found.map_err(|error| error.to_string())?.code() {
        Some(0) => Ok(true),
        Some(1 | 2) => Ok(false),
        other => Err(format!("grep ended with {other:?}")),
    }
}

/// The kubelet uses the CPU manager policy `name`.
fn policy(place: &Place, name: &str) -> Outcome {
    let state = "/var/lib/kubelet/cpu_manager_state";
    let state = on(place, &["exec", "node01", "--", "cat", state])?;
    check(state.contains(&format!("\"policyName\":\"{name}\"")), || {
        state.clone()
    })
}

/// After a stop and start everything is as before, except for what was changed in the stored file.
pub(crate) fn again(place: &Place) -> Outcome {
    // The namespace was created after the first start.
    check(!on_disk(place, "/registry/namespaces/fresh")?, || {
        "etcd writes to the disk".to_owned()
    })?;
    on(place, &["stop"])?;
    check(on_disk(place, "/registry/namespaces/fresh")?, || {
        "what etcd had in memory is not on the disk".to_owned()
    })?;
    let taken = TcpListener::bind(("127.0.0.1", port()?)).map_err(text)?;
    place.refused(&["start", "--name", NAME], &["could not listen on"])?;
    drop(taken);
    let moved = work(place).join("moved");
    fs::rename(work(place).join("one"), &moved).map_err(text)?;
    place.refused(
        &["start", "--name", NAME],
        &["cluster.toml` is not a valid configuration", "no such file"],
    )?;
    fs::rename(&moved, work(place).join("one")).map_err(text)?;
    let stored = place.dir().join("clusters").join(NAME).join("cluster.toml");
    let config = fs::read_to_string(&stored).map_err(text)?;
    fs::write(&stored, config.replace("\"static\"", "\"none\"")).map_err(text)?;
    on(place, &["start"])?;
    policy(place, "none")?;
    etcd_is_in_memory(place)?;
    on(place, &["kubectl", "get", "namespace", "fresh"])?;
    on(place, &["kubectl", "create", "namespace", "late"])?;
    as_configured(place)
}

fn layers(place: &Place) -> Result<BTreeSet<PathBuf>, String> {
    let entries = fs::read_dir(place.dir().join("store/unpacked")).map_err(text)?;
    entries.map(|entry| Ok(entry.map_err(text)?.path())).collect()
}

/// The frozen artifact contains nothing of the host.
pub(crate) fn frozen(place: &Place) -> Outcome {
    let before = layers(place)?;
    on(place, &["freeze", "configured"])?;
    let own: Vec<PathBuf> = layers(place)?.difference(&before).cloned().collect();
    check(!own.is_empty(), || "the freeze made no layer".to_owned())?;
    let mut grep = Command::new("grep");
    grep.args(["-r", "-l", "-a", "-e", SECRET, "-e", "system-reserved"])
        .args(&own);
    let found = grep.output().map_err(text)?;
    let message = String::from_utf8_lossy(&found.stdout).into_owned();
    check(found.status.code() == Some(1), || {
        format!("{message}{}", String::from_utf8_lossy(&found.stderr))
    })?;
    let logged = own.iter().find(|layer| layer.join("var/log/kubernetes").exists());
    check(logged.is_none(), || format!("{logged:?} holds an audit log"))?;
    // Checks the check.
    let found = Command::new("grep")
        .args(["-r", "-l", "max-pods=40"])
        .args(&own)
        .output()
        .map_err(text)?;
    check(found.status.success(), || {
        "the kubelet's arguments are not in the artifact".to_owned()
    })?;
    let data = own.iter().map(|layer| layer.join("var/lib/etcd/member/snap/db"));
    let data: Vec<PathBuf> = data.filter(|path| path.exists()).collect();
    let late = Command::new("grep")
        .args(["-q", "-a", "-e", "/registry/namespaces/late"])
        .args(&data)
        .status()
        .map_err(text)?;
    check(data.len() == 1 && late.success(), || {
        format!("what etcd had in memory is not in the artifact: {data:?}")
    })?;
    on(place, &["down"])?;
    place.removed(&[&CONFIGURED, &CONFIGURED_OPTIONS, &CONFIGURED_RESTARTED])?;
    place.run(&["artifact", "remove", "configured"])?;
    fs::remove_dir_all(work(place)).map_err(text)
}
