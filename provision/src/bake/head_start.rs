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
        let container = inspect(&["inspect", found.stdout.trim()])?;
        let sandbox = container["info"]["sandboxID"].as_str().unwrap_or_default();
        let sandbox = inspect(&["inspectp", sandbox])?;
        let config = &container["info"]["config"];
        for (name, text) in [
            ("pod.json", sandbox["info"]["config"].to_string()),
            ("container.json", config.to_string()),
            ("files", kubelets_own(config)),
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

    use super::kubelets_own;

    #[test]
    fn only_the_kubelets_own_files_are_made() {
        let config = json!({ "mounts": [
            { "container_path": "/var/lib/etcd", "host_path": "/var/lib/etcd" },
            { "container_path": "/etc/hosts", "host_path": "/var/lib/kubelet/pods/u/etc-hosts" },
        ] });
        assert_eq!(kubelets_own(&config), "/var/lib/kubelet/pods/u/etc-hosts\n");
        assert_eq!(kubelets_own(&json!({})), "");
    }
}
