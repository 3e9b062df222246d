//! Options that a version of Kubernetes, or a host, does not have.

use parbake_cluster::KubernetesVersion;
use parbake_machine::host::NoSwap;

use super::check::{Problem, at};
use super::read::Place;
use super::{Config, NodeConfig};

/// What is asked for and a version of Kubernetes does not know.
pub(super) fn unknown(config: &Config, version: &KubernetesVersion) -> Vec<Problem> {
    let dialect = version.dialect();
    let mut problems = Vec::new();
    let mut lacks = |place: Place, who: &str, what: &str, since: &str| {
        let message = format!("the {who} of Kubernetes {version} {what}; take Kubernetes {since} or newer");
        problems.push((place, message));
    };
    if config.etcd.fsync == Some(false) && !dialect.etcd_can_skip_fsync() {
        lacks(at(["etcd", "fsync"]), "etcd", "always waits for the disk", "1.22");
    }
    if config.api_server.pod_security.is_some() && dialect.pod_security_api().is_none() {
        let place = at(["api-server", "pod-security"]);
        lacks(place, "API server", "knows no pod security standards", "1.23");
    }
    for (place, _) in swaps(config).filter(|_| !dialect.knows_swap()) {
        lacks(place, "kubelet", "gives pods no swap space", "1.30");
    }
    problems
}

/// Where the configuration has pods swapped out.
fn swaps(config: &Config) -> impl Iterator<Item = (Place, &NodeConfig)> {
    let own = config.nodes.iter();
    let own = own.map(|(name, own)| (at(["nodes", name.as_str(), "swap"]), own));
    let all = own.chain([(at(["all-nodes", "swap"]), &config.all_nodes)]);
    all.filter(|(_, node)| node.swap == Some(true))
}

/// Nodes whose pods this host cannot swap out.
pub(super) fn swapping(config: &Config, look: impl FnOnce() -> Option<NoSwap>) -> Vec<Problem> {
    let mut places = swaps(config).map(|(place, _)| place).peekable();
    if places.peek().is_none() {
        return Vec::new();
    }
    match look() {
        Some(problem) => places.map(|place| (place, problem.to_string())).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use parbake_machine::host::NoSwap;

    use super::super::Config;
    use super::super::read::shown;
    use super::{Problem, swapping, unknown};

    const ALL: &str = "\
        [all-nodes]\nswap = true\n[nodes.node01]\nswap = false\n[nodes.node02]\nswap = true\n\
        [etcd]\nfsync = false\n[api-server]\naudit = true\npod-security = 'baseline'\n";

    #[test]
    fn old_versions_lack_what_came_later() {
        let lacks = |text: &str, version: &str| {
            let found = unknown(&Config::parse(text).unwrap(), &version.parse().unwrap());
            let line = |(place, message): Problem| format!("{}: {message}", shown(&place));
            found.into_iter().map(line).collect::<Vec<String>>()
        };
        let fsync = "etcd.fsync: the etcd of Kubernetes v1.17.17 always waits for the disk; take Kubernetes 1.22 or newer";
        let pods = "api-server.pod-security: the API server of Kubernetes v1.17.17 knows no pod security standards; take \
                    Kubernetes 1.23 or newer";
        let swap = |node: &str| {
            format!(
                "{node}.swap: the kubelet of Kubernetes v1.17.17 gives pods no swap space; take Kubernetes 1.30 or newer"
            )
        };
        let all = [
            fsync.to_owned(),
            pods.to_owned(),
            swap("nodes.node02"),
            swap("all-nodes"),
        ];
        assert_eq!(lacks(ALL, "v1.17.17"), all);
        assert_eq!(lacks(ALL, "v1.34.4"), [""; 0]);
        assert_eq!(lacks(ALL, "v1.23.0").len(), 2);
        let nothing = "[etcd]\nfsync = true\n[all-nodes]\nswap = false\n[api-server]\naudit = false\n";
        assert_eq!(lacks(nothing, "v1.17.17"), [""; 0]);
    }

    #[test]
    fn a_host_is_asked_where_a_node_is_to_swap() {
        let config = Config::parse(ALL).unwrap();
        let found = swapping(&config, || Some(NoSwap::Space));
        let places: Vec<String> = found.iter().map(|(place, _)| shown(place)).collect();
        assert_eq!(places, ["nodes.node02.swap", "all-nodes.swap"]);
        assert!(
            found[0].1.contains("this host has no swap space; add some with"),
            "{found:?}"
        );
        assert_eq!(swapping(&config, || None), []);
        let config = Config::parse("[all-nodes]\nswap = false").unwrap();
        assert_eq!(swapping(&config, || panic!("nobody asks")), []);
    }
}
