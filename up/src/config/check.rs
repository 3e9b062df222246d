//! What the parts of a configuration say against each other, against the cluster and against the host. Each problem comes
//! with its place.

use std::collections::BTreeSet;

use parbake_cluster::{Description, NodeName, Role};

use super::control_plane::{ADMISSION, AUDIT};
use super::host::Size;
use super::name::{Argument, Component};
use super::read::{Place, Step};
use super::{Config, Mount, NodeConfig, VERSION, compat, cpu_manager};

/// What is wrong, and with what.
pub(super) type Problem = (Place, String);

/// Arguments that belong to the cluster's identity, its networks or its way of starting: with others no thaw works.
const OWN: [(Component, &[&str]); 4] = [
    (
        Component::KubeApiserver,
        &[
            "advertise-address",
            "bind-address",
            "client-ca-file",
            "etcd-cafile",
            "etcd-certfile",
            "etcd-keyfile",
            "etcd-servers",
            "kubelet-client-certificate",
            "kubelet-client-key",
            "permit-port-sharing",
            "requestheader-client-ca-file",
            "secure-port",
            "service-account-key-file",
            "service-account-signing-key-file",
            "service-cluster-ip-range",
            "tls-cert-file",
            "tls-private-key-file",
        ],
    ),
    (
        Component::KubeControllerManager,
        &[
            "allocate-node-cidrs",
            "client-ca-file",
            "cluster-cidr",
            "cluster-signing-cert-file",
            "cluster-signing-key-file",
            "kubeconfig",
            "root-ca-file",
            "service-account-private-key-file",
            "service-cluster-ip-range",
        ],
    ),
    (Component::KubeScheduler, &["kubeconfig"]),
    (
        Component::Kubelet,
        &[
            "bootstrap-kubeconfig",
            "config",
            "container-runtime-endpoint",
            "hostname-override",
            "kubeconfig",
            "node-ip",
            "node-labels",
            "pod-manifest-path",
            "register-with-taints",
            "system-reserved",
        ],
    ),
];

/// What is wrong with a configuration whatever the cluster.
pub(super) fn alone(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(version) = config.version.filter(|version| *version != VERSION) {
        let message = format!("version {version} is not supported; this parbake knows version {VERSION}");
        problems.push((at(["version"]), message));
    }
    if config.count == Some(0) {
        problems.push((at(["count"]), "a cluster has at least one node".to_owned()));
    }
    if config.all_nodes.role.is_some() {
        let message = "not all nodes have the same role; give one in the table of its node";
        problems.push((at(["all-nodes", "role"]), message.to_owned()));
    }
    problems.extend(mounts(&config.mounts));
    problems.extend(ports(config));
    problems.extend(arguments(config));
    problems.extend(cpu_manager::problems(config));
    problems
}

pub(super) fn at<const LENGTH: usize>(keys: [&str; LENGTH]) -> Place {
    keys.iter().map(|key| Step::from(*key)).collect()
}

fn item(list: &str, index: usize, key: &str) -> Place {
    vec![list.into(), index.into(), key.into()]
}

fn mounts(mounts: &[Mount]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let clash = |other: &&Mount| {
            let nodes = [&mount.node, &other.node];
            let same = nodes.iter().any(|node| node.is_none()) || mount.node == other.node;
            other.path.relative() == mount.path.relative() && same
        };
        if mounts[..index].iter().any(|other| clash(&other)) {
            let message = format!("`{}` is mounted twice on a node", mount.path);
            problems.push((item("mounts", index, "path"), message));
        }
    }
    problems
}

fn ports(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, port) in config.ports.iter().enumerate() {
        if config.ports[..index].iter().any(|other| other.collides(port)) {
            let message = format!("port {} of the host is published twice", port.host);
            problems.push((item("ports", index, "host"), message));
        }
    }
    problems
}

fn arguments(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (component, arguments) in &config.arguments {
        for (argument, value) in arguments {
            let place = at(["arguments", component.as_str(), argument.as_str()]);
            if let Some(reason) =
                refusal(*component, argument).or_else(|| option_of(config, *component, argument))
            {
                problems.push((place, format!("`{argument}` of {} {reason}", component.as_str())));
            } else if *component == Component::Kubelet && !is_one_word(value.as_str()) {
                let message =
                    "an argument of the kubelet can hold no blank, quote, backslash or `$`".to_owned();
                problems.push((place, message));
            }
        }
    }
    problems
}

/// Why an argument cannot be set.
fn refusal(component: Component, argument: &Argument) -> Option<&'static str> {
    let own = OWN.iter().find(|(other, _)| *other == component);
    let own = own.map(|(_, own)| *own).unwrap_or_default();
    match argument.as_str() {
        "feature-gates" => Some("is set in the table `feature-gates`"),
        "system-reserved" => Some("follows from `cpus` and `memory` of the node"),
        "node-labels" => Some("is set in the node's `labels`"),
        "register-with-taints" => Some("is set in the node's `taints`"),
        name if own.contains(&name) => Some("is parbake's own: no cluster starts with another value"),
        _ => None,
    }
}

/// Why an argument cannot be set beside an option that it follows from.
fn option_of(config: &Config, component: Component, argument: &Argument) -> Option<&'static str> {
    if component != Component::KubeApiserver {
        return None;
    }
    // How large a log may be is the user's.
    let [policy, log, ..] = AUDIT;
    match argument.as_str() {
        name if name == policy || name == log => config
            .api_server
            .audit
            .as_ref()
            .map(|_| "follows from `api-server.audit`"),
        ADMISSION => config
            .api_server
            .pod_security
            .map(|_| "follows from `api-server.pod-security`"),
        _ => None,
    }
}

/// Whether systemd hands it on as it is (systemd.exec(5), `EnvironmentFile=`; systemd.service(5), 'Command lines').
fn is_one_word(value: &str) -> bool {
    !value.contains(|letter: char| letter.is_whitespace() || "\"'\\$".contains(letter))
}

/// What is wrong with a configuration for a cluster that runs `cluster`'s nodes, of those that were `baked`.
pub(super) fn fits(config: &Config, baked: &Description, cluster: &Description) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut known = |place: Place, name: &NodeName| {
        if cluster.node(name).is_none() {
            let problem = if baked.node(name).is_some() {
                format!(
                    "the node `{name}` does not run: the cluster has only {}",
                    names(cluster)
                )
            } else {
                format!("there is no node `{name}`; the cluster has {}", names(cluster))
            };
            problems.push((place, problem));
        }
    };
    for name in config.nodes.keys() {
        known(at(["nodes", name.as_str()]), name);
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        if let Some(node) = &mount.node {
            known(item("mounts", index, "node"), node);
        }
    }
    for (index, port) in config.ports.iter().enumerate() {
        if let Some(node) = &port.node {
            known(item("ports", index, "node"), node);
        }
    }
    for (name, own) in &config.nodes {
        let baked = cluster.node(name).map(|node| node.role);
        if let (Some(wanted), Some(baked)) = (own.role, baked)
            && wanted != baked
        {
            let message = format!("`{name}` was baked as {}; a role cannot be changed", role(baked));
            problems.push((at(["nodes", name.as_str(), "role"]), message));
        }
    }
    problems.extend(compat::unknown(config, cluster.kubernetes()));
    problems
}

fn role(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

fn names(cluster: &Description) -> String {
    let names: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| format!("`{}`", node.name))
        .collect();
    names.join(", ")
}

/// What a host of that size cannot give.
pub(super) fn affordable(config: &Config, size: &Size) -> Vec<Problem> {
    let mut problems = Vec::new();
    let own = config
        .nodes
        .iter()
        .map(|(name, own)| (at(["nodes", name.as_str()]), own));
    for (place, node) in own.chain([(at(["all-nodes"]), &config.all_nodes)]) {
        let below = |key: &str| [place.clone(), at([key])].concat();
        let NodeConfig { cpus, memory, .. } = node;
        if let Some(cpus) = cpus.filter(|cpus| cpus.millis() > size.millicpus) {
            let message = format!("the host has {} processors, not {cpus}", size.millicpus / 1000);
            problems.push((below("cpus"), message));
        }
        if let Some(memory) = memory.filter(|memory| memory.bytes() > size.memory) {
            let message = format!("the host has {} MiB of memory, not {memory}", size.memory >> 20);
            problems.push((below("memory"), message));
        }
    }
    problems
}

/// All parameters that any node is to have.
pub(super) fn sysctls(config: &Config) -> BTreeSet<(Place, String, String)> {
    let own = config
        .nodes
        .iter()
        .map(|(name, own)| (at(["nodes", name.as_str()]), own));
    let all = own.chain([(at(["all-nodes"]), &config.all_nodes)]);
    all.flat_map(|(place, node)| {
        node.sysctls.iter().map(move |(name, value)| {
            let place = [place.clone(), at(["sysctls", name.as_str()])].concat();
            (place, name.to_string(), value.as_str().to_owned())
        })
    })
    .collect()
}
