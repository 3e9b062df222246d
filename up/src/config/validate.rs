//! Checks of a configuration: for itself, for a cluster and for a host.

use std::collections::BTreeSet;

use parbake_cluster::toml_document::{Finding, ValuePath};
use parbake_cluster::{Description, NodeName, Role};

use super::control_plane::{ADMISSION, AUDIT};
use super::host::HostSize;
use super::name::{Argument, Component};
use super::{Config, Mount, NodeConfig, VERSION, compat, cpu_manager};

/// Arguments that determine the cluster's identity, its networks or the way it starts. No thaw works with other values.
const RESERVED: [(Component, &[&str]); 4] = [
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

/// Problems that do not depend on the cluster.
pub(super) fn validate(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(version) = config.version.filter(|version| *version != VERSION) {
        let message = format!("version {version} is not supported; this parbake knows version {VERSION}");
        findings.push(Finding::new(ValuePath::of(["version"]), message));
    }
    if config.count == Some(0) {
        findings.push(Finding::new(
            ValuePath::of(["count"]),
            "a cluster needs at least one node",
        ));
    }
    if config.all_nodes.role.is_some() {
        let message = "nodes have different roles; set the role in the table of one node";
        findings.push(Finding::new(ValuePath::of(["all-nodes", "role"]), message));
    }
    findings.extend(mounts(&config.mounts));
    findings.extend(ports(config));
    findings.extend(arguments(config));
    findings.extend(cpu_manager::validate(config));
    findings
}

fn field_of_item(list: &str, index: usize, key: &str) -> ValuePath {
    ValuePath::of([list]).index(index).key(key)
}

fn mounts(mounts: &[Mount]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let collides = |other: &Mount| {
            let nodes = [&mount.node, &other.node];
            let share_node = nodes.iter().any(|node| node.is_none()) || mount.node == other.node;
            other.path.relative() == mount.path.relative() && share_node
        };
        if mounts[..index].iter().any(collides) {
            let message = format!("`{}` is mounted twice on a node", mount.path);
            findings.push(Finding::new(field_of_item("mounts", index, "path"), message));
        }
    }
    findings
}

fn ports(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, port) in config.ports.iter().enumerate() {
        if config.ports[..index].iter().any(|other| other.collides(port)) {
            let message = format!("port {} of the host is published twice", port.host);
            findings.push(Finding::new(field_of_item("ports", index, "host"), message));
        }
    }
    findings
}

fn arguments(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (component, arguments) in &config.arguments {
        for (argument, value) in arguments {
            let path = ValuePath::of(["arguments", component.as_str(), argument.as_str()]);
            let reason = reserved(*component, argument).or_else(|| derived(config, *component, argument));
            if let Some(reason) = reason {
                let message = format!("`{argument}` of {} {reason}", component.as_str());
                findings.push(Finding::new(path, message));
            } else if *component == Component::Kubelet && !is_one_word(value.as_str()) {
                let message =
                    "an argument of the kubelet cannot contain white space, quotes, backslashes or `$`";
                findings.push(Finding::new(path, message));
            }
        }
    }
    findings
}

/// Why an argument can never be set.
fn reserved(component: Component, argument: &Argument) -> Option<&'static str> {
    let own = RESERVED.iter().find(|(other, _)| *other == component);
    let own = own.map(|(_, own)| *own).unwrap_or_default();
    match argument.as_str() {
        "feature-gates" => Some("is set in the table `feature-gates`"),
        "system-reserved" => Some("is computed from `cpus` and `memory` of the node"),
        "node-labels" => Some("is set in the node's `labels`"),
        "register-with-taints" => Some("is set in the node's `taints`"),
        name if own.contains(&name) => {
            Some("is managed by parbake: clusters do not start with another value")
        }
        _ => None,
    }
}

/// Why an argument cannot be set together with the option that determines it. The sizes of audit logs can.
fn derived(config: &Config, component: Component, argument: &Argument) -> Option<&'static str> {
    if component != Component::KubeApiserver {
        return None;
    }
    let api_server = &config.api_server;
    let [policy, log, ..] = AUDIT;
    match argument.as_str() {
        name if name == policy || name == log => {
            api_server.audit.as_ref().map(|_| "is set by `api-server.audit`")
        }
        ADMISSION => api_server
            .pod_security
            .map(|_| "is set by `api-server.pod-security`"),
        _ => None,
    }
}

/// True if systemd passes the value on unchanged (systemd.exec(5), `EnvironmentFile=`; systemd.service(5), 'Command lines').
fn is_one_word(value: &str) -> bool {
    !value.contains(|letter: char| letter.is_whitespace() || "\"'\\$".contains(letter))
}

/// Problems with a configuration for `cluster`, which runs some of the nodes of `baked`.
pub(super) fn validate_for_cluster(
    config: &Config,
    baked: &Description,
    cluster: &Description,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check_node = |path: ValuePath, name: &NodeName| {
        if cluster.node(name).is_none() {
            let message = if baked.node(name).is_some() {
                format!(
                    "node `{name}` does not run: the cluster has only {}",
                    names(cluster)
                )
            } else {
                format!("there is no node `{name}`; the cluster has {}", names(cluster))
            };
            findings.push(Finding::new(path, message));
        }
    };
    for name in config.nodes.keys() {
        check_node(ValuePath::of(["nodes", name.as_str()]), name);
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        if let Some(node) = &mount.node {
            check_node(field_of_item("mounts", index, "node"), node);
        }
    }
    for (index, port) in config.ports.iter().enumerate() {
        if let Some(node) = &port.node {
            check_node(field_of_item("ports", index, "node"), node);
        }
    }
    for (name, node) in &config.nodes {
        let baked = cluster.node(name).map(|node| node.role);
        if let (Some(role), Some(baked)) = (node.role, baked)
            && role != baked
        {
            let message = format!(
                "`{name}` was baked as {}; a role cannot be changed",
                role_name(baked)
            );
            findings.push(Finding::new(
                ValuePath::of(["nodes", name.as_str(), "role"]),
                message,
            ));
        }
    }
    findings.extend(compat::unsupported(config, cluster.kubernetes()));
    findings
}

fn role_name(role: Role) -> &'static str {
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

/// The tables of nodes and of all nodes, with their paths.
fn node_tables(config: &Config) -> impl Iterator<Item = (ValuePath, &NodeConfig)> {
    let nodes = config.nodes.iter();
    let nodes = nodes.map(|(name, node)| (ValuePath::of(["nodes", name.as_str()]), node));
    nodes.chain([(ValuePath::of(["all-nodes"]), &config.all_nodes)])
}

/// Limits that are larger than the host.
pub(super) fn host_limits(config: &Config, size: &HostSize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, node) in node_tables(config) {
        let NodeConfig { cpus, memory, .. } = node;
        if let Some(cpus) = cpus.filter(|cpus| cpus.millis() > size.millicpus) {
            let message = format!("the host has {} CPUs, not {cpus}", size.millicpus / 1000);
            findings.push(Finding::new(path.clone().key("cpus"), message));
        }
        if let Some(memory) = memory.filter(|memory| memory.bytes() > size.memory) {
            let message = format!("the host has {} MiB of memory, not {memory}", size.memory >> 20);
            findings.push(Finding::new(path.key("memory"), message));
        }
    }
    findings
}

/// All kernel parameters of all nodes: path, name and value.
pub(super) fn sysctls(config: &Config) -> BTreeSet<(ValuePath, String, String)> {
    let tables = node_tables(config);
    tables
        .flat_map(|(path, node)| {
            node.sysctls.iter().map(move |(name, value)| {
                let path = path.clone().key("sysctls").key(name.as_str());
                (path, name.to_string(), value.as_str().to_owned())
            })
        })
        .collect()
}
