//! A head start for the control plane: what the kubelet asked the runtime for when it started etcd and the API server,
//! so that a thaw can ask the same while the kubelet is still starting.
//!
//! The kubelet finds the two running and takes them over: it tells its own containers by labels and by a hash of their
//! specification, and both are part of what is recorded. Where a manifest was changed since, or anything else goes
//! wrong, it starts them anew as it always did: but a kubelet that finds volumes of the time before waits for the API
//! then, twice 10 s, before it starts anything ([`renew`] is against that).

use parbake_machine::supervisor::Running;
use serde_json::Value;

use crate::container_runtime::ContainerRuntime;
use crate::description::Node;

/// The pods that everything else waits for.
const PODS: [&str; 2] = ["etcd", "kube-apiserver"];
/// Where `parbake-head-start.service` looks.
const DIR: &str = "/var/lib/parbake/head-start";
/// Files that the kubelet makes for a container's start and that the container mounts.
const KUBELETS_OWN: &str = "/var/lib/kubelet/pods/";

/// Where the kubelet keeps files of a container, in the directory of its pod; each has a random name.
const CONTAINERS: &str = "/containers/";
/// The kubelet's annotation that tells when it first saw the pod, and what to say instead.
const SEEN: (&str, &str) = ("kubernetes.io/config.seen", "1970-01-01T00:00:00Z");

/// Names the pods whose manifests are not those of the record, where there is one.
const CHANGED: &str = r#"
[ -d "$0" ] && cd "$0" || exit 0
for pod do sha256sum --check --status "$pod.sha256" || echo "$pod"; done
"#;

/// How pods run could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum HeadStartError {
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
}

/// Records how the first pods of the control plane run on `node`. A runtime that does not tell what it was asked for gives
/// no head start.
///
/// # Errors
/// A pod does not run, or cannot be looked at.
pub fn record(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), HeadStartError> {
    if !runtime.answers().tells_requests {
        return Ok(());
    }
    let name = node.name.as_str();
    let line = format!("rm -rf {DIR} && mkdir -p {DIR}");
    running.command(name, ["sh", "-euc", &line])?.run()?;
    PODS.iter().try_for_each(|pod| record_pod(running, name, pod))
}

/// Records those anew whose manifests were changed since, so that the next start is as quick as others.
///
/// # Errors
/// A pod does not run, or cannot be looked at.
pub fn renew(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), HeadStartError> {
    if !runtime.answers().tells_requests {
        return Ok(());
    }
    let name = node.name.as_str();
    let words = ["sh", "-euc", CHANGED, DIR].into_iter().chain(PODS);
    let changed = running.command(name, words)?.run()?.stdout;
    let mut changed = changed.split_whitespace();
    changed.try_for_each(|pod| record_pod(running, name, pod))
}

fn record_pod(running: &Running, node: &str, pod: &str) -> Result<(), HeadStartError> {
    let crictl = |words: &[&str]| {
        let all = [&["crictl", "--timeout=30s"], words].concat();
        Ok::<_, HeadStartError>(running.command(node, all)?.run()?)
    };
    let found = crictl(&["ps", "--quiet", "--name", &format!("^{pod}$")])?;
    let inspect = |words: &[&str]| -> Result<Value, HeadStartError> {
        Ok(crictl(words)?.parse(|text| serde_json::from_str(text).map_err(|_| "no JSON"))?)
    };
    let mut container = inspect(&["inspect", found.stdout.trim()])?;
    let sandbox = container["info"]["sandboxID"].as_str().unwrap_or_default();
    let mut sandbox = inspect(&["inspectp", sandbox])?;
    let (config, sandbox) = (
        same_each_time(container["info"]["config"].take()),
        same_each_time(sandbox["info"]["config"].take()),
    );
    for (name, text) in [
        ("pod.json", sandbox.to_string()),
        ("container.json", config.to_string()),
        ("files", kubelets_own(&config)),
    ] {
        // In one piece, since a start after a crash reads it.
        let line = format!("cat > {DIR}/new && mv {DIR}/new {DIR}/{pod}.{name}");
        running.command(node, ["sh", "-euc", &line])?.stdin(text).run()?;
    }
    // What it is of comes last: until then a record that is being renewed fits no manifest.
    let line = format!(
        "sha256sum /etc/kubernetes/manifests/{pod}.yaml > {DIR}/new && mv {DIR}/new {DIR}/{pod}.sha256"
    );
    running.command(node, ["sh", "-euc", &line])?.run()?;
    Ok(())
}

/// The configuration without what is another in every bake.
fn same_each_time(mut config: Value) -> Value {
    let annotations = config.get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(seen) = annotations.and_then(|annotations| annotations.get_mut(SEEN.0)) {
        *seen = SEEN.1.into();
    }
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        if let Some(path) = mount["host_path"].as_str().and_then(named_alike) {
            mount["host_path"] = path.into();
        }
    }
    config
}

/// The path of a container's file without its random name.
fn named_alike(path: &str) -> Option<String> {
    let (dir, _) = path.rsplit_once('/')?;
    let own = dir.starts_with(KUBELETS_OWN) && dir.contains(CONTAINERS);
    own.then(|| format!("{dir}/head-start"))
}

/// The files that the container mounts and that the kubelet makes, a line each.
fn kubelets_own(config: &Value) -> String {
    let mounts = config["mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paths = mounts.iter().filter_map(|mount| mount["host_path"].as_str());
    paths
        .filter(|path| path.starts_with(KUBELETS_OWN))
        .map(|path| format!("{path}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{kubelets_own, same_each_time};

    #[test]
    fn only_the_kubelets_own_files_are_made() {
        let config = json!({ "mounts": [
            { "container_path": "/var/lib/etcd", "host_path": "/var/lib/etcd" },
            { "container_path": "/etc/hosts", "host_path": "/var/lib/kubelet/pods/u/etc-hosts" },
        ] });
        assert_eq!(kubelets_own(&config), "/var/lib/kubelet/pods/u/etc-hosts\n");
        assert_eq!(kubelets_own(&json!({})), "");
    }

    #[test]
    fn nothing_random_is_recorded() {
        let config = |seen: &str, file: &str| {
            json!({
                "annotations": { "kubernetes.io/config.seen": seen, "kubernetes.io/config.source": "file" },
                "mounts": [
                    { "container_path": "/etc/hosts", "host_path": "/var/lib/kubelet/pods/u/etc-hosts" },
                    {
                        "container_path": "/dev/termination-log",
                        "host_path": format!("/var/lib/kubelet/pods/u/containers/etcd/{file}"),
                    },
                ],
            })
        };
        assert_eq!(
            same_each_time(config("2026-11-21T12:27:06.089762323Z", "92675d6a")),
            config("1970-01-01T00:00:00Z", "head-start")
        );
        assert_eq!(
            same_each_time(json!({ "command": ["etcd"] })),
            json!({ "command": ["etcd"] })
        );
    }
}
