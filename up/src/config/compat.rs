//! Options that a version of Kubernetes or a host does not support.

use parbake_cluster::KubernetesVersion;
use parbake_cluster::toml_document::{Finding, ValuePath};
use parbake_machine::host::NoSwap;

use super::{Config, NodeConfig};

/// Options that are newer than `version`.
pub(super) fn unsupported(config: &Config, version: &KubernetesVersion) -> Vec<Finding> {
    let compat = version.compat();
    let mut findings = Vec::new();
    let mut report = |path: ValuePath, limitation: &str, since: &str| {
        let message = format!("Kubernetes {version} {limitation}; use Kubernetes {since} or newer");
        findings.push(Finding::new(path, message));
    };
    if config.etcd.fsync == Some(false) && !compat.etcd_can_skip_fsync() {
        let path = ValuePath::of(["etcd", "fsync"]);
        report(path, "has an etcd that cannot run without fsync", "1.22");
    }
    if config.api_server.pod_security.is_some() && compat.pod_security_api().is_none() {
        let path = ValuePath::of(["api-server", "pod-security"]);
        report(path, "has no pod security standards", "1.23");
    }
    for (path, _) in nodes_with_swap(config).filter(|_| !compat.supports_swap()) {
        report(path, "has a kubelet without swap support", "1.30");
    }
    findings
}

/// Nodes with swap on, and the path of the option.
fn nodes_with_swap(config: &Config) -> impl Iterator<Item = (ValuePath, &NodeConfig)> {
    let nodes = config.nodes.iter();
    let nodes = nodes.map(|(name, node)| (ValuePath::of(["nodes", name.as_str(), "swap"]), node));
    let all = nodes.chain([(ValuePath::of(["all-nodes", "swap"]), &config.all_nodes)]);
    all.filter(|(_, node)| node.swap == Some(true))
}

/// Nodes with swap on, if `detect` finds that this host has none. It is only called if there are such nodes.
pub(super) fn unavailable_swap(config: &Config, detect: impl FnOnce() -> Option<NoSwap>) -> Vec<Finding> {
    let mut paths = nodes_with_swap(config).map(|(path, _)| path).peekable();
    if paths.peek().is_none() {
        return Vec::new();
    }
    match detect() {
        Some(reason) => paths.map(|path| Finding::new(path, reason.to_string())).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use parbake_machine::host::NoSwap;

    use super::super::Config;
    use super::{unavailable_swap, unsupported};

    const ALL: &str = "\
        [all-nodes]\nswap = true\n[nodes.node01]\nswap = false\n[nodes.node02]\nswap = true\n\
        [etcd]\nfsync = false\n[api-server]\naudit = true\npod-security = 'baseline'\n";

    #[test]
    fn old_versions_reject_newer_options() {
        let found = |text: &str, version: &str| {
            let findings = unsupported(&Config::parse(text).unwrap(), &version.parse().unwrap());
            findings.iter().map(ToString::to_string).collect::<Vec<String>>()
        };
        let fsync = "`etcd.fsync`: Kubernetes v1.17.17 has an etcd that cannot run without fsync; use Kubernetes 1.22 or newer";
        let pods = "`api-server.pod-security`: Kubernetes v1.17.17 has no pod security standards; use Kubernetes 1.23 or newer";
        let swap = |node: &str| {
            format!(
                "`{node}.swap`: Kubernetes v1.17.17 has a kubelet without swap support; use Kubernetes 1.30 or newer"
            )
        };
        let all = [
            fsync.to_owned(),
            pods.to_owned(),
            swap("nodes.node02"),
            swap("all-nodes"),
        ];
        assert_eq!(found(ALL, "v1.17.17"), all);
        assert_eq!(found(ALL, "v1.34.4"), [""; 0]);
        assert_eq!(found(ALL, "v1.23.0").len(), 2);
        let defaults = "[etcd]\nfsync = true\n[all-nodes]\nswap = false\n[api-server]\naudit = false\n";
        assert_eq!(found(defaults, "v1.17.17"), [""; 0]);
    }

    #[test]
    fn host_is_checked_only_if_a_node_has_swap() {
        let config = Config::parse(ALL).unwrap();
        let found = unavailable_swap(&config, || Some(NoSwap::Space));
        let paths: Vec<String> = found.iter().map(|finding| finding.path.to_string()).collect();
        assert_eq!(paths, ["nodes.node02.swap", "all-nodes.swap"]);
        assert!(found[0].message.contains("swap space"), "{found:?}");
        assert_eq!(unavailable_swap(&config, || None), []);
        let config = Config::parse("[all-nodes]\nswap = false").unwrap();
        assert_eq!(unavailable_swap(&config, || panic!("host was checked")), []);
    }
}
