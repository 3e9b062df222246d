//! Recording how the kubelet started etcd and the API server, so that a thaw can start both before the kubelet is up.
//!
//! The kubelet adopts the running containers: it recognizes its own by labels and by a hash of their specification, and
//! both are part of the record. If a manifest has changed, or anything else goes wrong, the kubelet starts them itself. But
//! a kubelet that finds old volumes then waits for the API twice for 10 s before it starts anything; [`refresh`] avoids that.

use parbake_machine::supervisor::Running;
use serde_json::Value;

use crate::error::Error;
use crate::model::container_runtime::ContainerRuntime;
use crate::model::description::Node;

/// The static pods that everything else waits for.
const PODS: [&str; 2] = ["etcd", "kube-apiserver"];
/// The directory that `parbake-head-start.service` reads.
const DIR: &str = "/var/lib/parbake/head-start";
/// The files that the kubelet creates for pods.
const KUBELET_PODS: &str = "/var/lib/kubelet/pods/";
/// The part of [`KUBELET_PODS`] with files of containers, which have random names.
const CONTAINERS: &str = "/containers/";
/// The annotation with the time at which the kubelet first saw the pod, and the value that is recorded instead.
const SEEN: (&str, &str) = ("kubernetes.io/config.seen", "1970-01-01T00:00:00Z");

/// Prints the pods whose manifests differ from the record's, if there is a record.
const CHANGED: &str = r#"
[ -d "$0" ] && cd "$0" || exit 0
for pod do sha256sum --check --status "$pod.sha256" || echo "$pod"; done
"#;

/// Records etcd and the API server of `node`. Does nothing if the runtime does not report the requests that it received.
///
/// # Errors
/// A pod does not run, or cannot be inspected.
pub fn record(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), Error> {
    if !runtime.profile().reports_requests {
        return Ok(());
    }
    let node = OnNode::new(running, node);
    node.run(["sh", "-euc", &format!("rm -rf {DIR} && mkdir -p {DIR}")])?;
    PODS.iter().try_for_each(|pod| node.record_pod(pod))
}

/// Records the pods whose manifests have changed since the last record, so that the next start is as fast as others.
///
/// # Errors
/// A pod does not run, or cannot be inspected.
pub fn refresh(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), Error> {
    if !runtime.profile().reports_requests {
        return Ok(());
    }
    let node = OnNode::new(running, node);
    let changed = node.run(["sh", "-euc", CHANGED, DIR].into_iter().chain(PODS))?;
    let mut changed = changed.split_whitespace();
    changed.try_for_each(|pod| node.record_pod(pod))
}

struct OnNode<'a> {
    running: &'a Running,
    name: &'a str,
}

impl<'a> OnNode<'a> {
    fn new(running: &'a Running, node: &'a Node) -> Self {
        Self {
            running,
            name: node.name.as_str(),
        }
    }

    fn failed(&self, source: parbake_machine::Error) -> Error {
        Error::OnNode {
            act: "record the static pods of the control plane",
            node: self.name.to_owned(),
            source,
        }
    }

    /// Returns the standard output.
    fn run<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<String, Error> {
        let command = self.running.command(self.name, words)?;
        Ok(command.run().map_err(|error| self.failed(error))?.stdout)
    }

    fn inspect(&self, subcommand: &str, id: &str) -> Result<Value, Error> {
        let words = ["crictl", "--timeout=30s", subcommand, id];
        let output = self.running.command(self.name, words)?.run();
        output
            .and_then(|output| output.parse(|text| serde_json::from_str(text).map_err(|_| "no JSON")))
            .map_err(|error| self.failed(error))
    }

    fn record_pod(&self, pod: &str) -> Result<(), Error> {
        let name = format!("^{pod}$");
        let id = self.run(["crictl", "--timeout=30s", "ps", "--quiet", "--name", &name])?;
        let mut container = self.inspect("inspect", id.trim())?;
        let sandbox = container["info"]["sandboxID"].as_str().unwrap_or_default();
        let mut sandbox = self.inspect("inspectp", sandbox)?;
        let container = normalized(container["info"]["config"].take());
        let sandbox = normalized(sandbox["info"]["config"].take());
        for (name, text) in [
            ("pod.json", sandbox.to_string()),
            ("container.json", container.to_string()),
            ("files", kubelet_files(&container)),
        ] {
            // Renamed into place, because the start after a crash reads it.
            let script = format!("cat > {DIR}/new && mv {DIR}/new {DIR}/{pod}.{name}");
            let command = self.running.command(self.name, ["sh", "-euc", &script])?;
            command.stdin(text).run().map_err(|error| self.failed(error))?;
        }
        // The checksum comes last: until then an incomplete record matches no manifest.
        let script = format!(
            "sha256sum /etc/kubernetes/manifests/{pod}.yaml > {DIR}/new && mv {DIR}/new {DIR}/{pod}.sha256"
        );
        self.run(["sh", "-euc", &script])?;
        Ok(())
    }
}

/// The configuration without values that differ in every bake.
fn normalized(mut config: Value) -> Value {
    let annotations = config.get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(seen) = annotations.and_then(|annotations| annotations.get_mut(SEEN.0)) {
        *seen = SEEN.1.into();
    }
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        if let Some(path) = mount["host_path"].as_str().and_then(without_random_name) {
            mount["host_path"] = path.into();
        }
    }
    config
}

/// The path of a container's file with a fixed name.
fn without_random_name(path: &str) -> Option<String> {
    let (dir, _) = path.rsplit_once('/')?;
    let is_containers = dir.starts_with(KUBELET_PODS) && dir.contains(CONTAINERS);
    is_containers.then(|| format!("{dir}/head-start"))
}

/// The mounted files that the kubelet creates, one in each line.
fn kubelet_files(config: &Value) -> String {
    let mounts = config["mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paths = mounts.iter().filter_map(|mount| mount["host_path"].as_str());
    paths
        .filter(|path| path.starts_with(KUBELET_PODS))
        .map(|path| format!("{path}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{kubelet_files, normalized};

    #[test]
    fn only_files_of_the_kubelet_are_listed() {
        let config = json!({ "mounts": [
            { "container_path": "/var/lib/etcd", "host_path": "/var/lib/etcd" },
            { "container_path": "/etc/hosts", "host_path": "/var/lib/kubelet/pods/u/etc-hosts" },
        ] });
        assert_eq!(kubelet_files(&config), "/var/lib/kubelet/pods/u/etc-hosts\n");
        assert_eq!(kubelet_files(&json!({})), "");
    }

    #[test]
    fn random_values_are_not_recorded() {
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
            normalized(config("2026-11-21T12:27:06.089762323Z", "92675d6a")),
            config("1970-01-01T00:00:00Z", "head-start")
        );
        assert_eq!(
            normalized(json!({ "command": ["etcd"] })),
            json!({ "command": ["etcd"] })
        );
    }
}
