//! A head start for the control plane: what the kubelet asked the runtime for when it started etcd and the API server,
//! so that a thaw can ask the same while the kubelet is still starting.
//!
//! The kubelet finds the two running and takes them over: it tells its own containers by labels and by a hash of their
//! specification, and both are part of what is recorded. Where a manifest was changed since, or anything else goes
//! wrong, it starts them anew as it always did.

use parbake_cluster::Node;
use parbake_machine::running::Running;
use serde_json::Value;

use super::Error;
use super::boot::{on, shell};

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

/// Records how the control plane's first pods run on `node`.
pub(super) fn record(running: &Running, node: &Node) -> Result<(), Error> {
    let node = node.name.as_str();
    shell(running, node, &format!("rm -rf {DIR} && mkdir -p {DIR}"))?;
    for pod in PODS {
        let found = on(
            running,
            node,
            &["crictl", "ps", "--quiet", "--name", &format!("^{pod}$")],
        )?;
        let inspect = |words: &[&str]| -> Result<Value, Error> {
            let output = on(running, node, &[&["crictl", "--timeout=30s"], words].concat())?;
            Ok(output.parse(|text| serde_json::from_str(text).map_err(|_| "no JSON"))?)
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
            running
                .command(node, ["sh", "-euc", &format!("cat > {DIR}/{pod}.{name}")])?
                .stdin(text)
                .run()?;
        }
        let sum = "sha256sum /etc/kubernetes/manifests";
        shell(running, node, &format!("{sum}/{pod}.yaml > {DIR}/{pod}.sha256"))?;
    }
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
