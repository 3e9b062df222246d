//! Merging two configurations; the second one takes precedence.

use super::{ApiServer, Config, Etcd, NodeConfig};

/// Merges a file and flags. A flag overrides a single value; lists are joined, without the items that a flag overrides.
pub(super) fn merge(file: Config, flags: Config) -> Config {
    let mut nodes = file.nodes;
    // A flag for all nodes overrides what the file sets for one.
    for own in nodes.values_mut() {
        *own = node(own.clone(), restricted(&flags.all_nodes, own));
    }
    for (name, given) in flags.nodes {
        let own = nodes.remove(&name).unwrap_or_default();
        nodes.insert(name, node(own, given));
    }
    let mut mounts = file.mounts;
    mounts.retain(|mount| {
        !flags
            .mounts
            .iter()
            .any(|flag| flag.path == mount.path && (flag.node.is_none() || flag.node == mount.node))
    });
    let mut ports = file.ports;
    ports.retain(|port| !flags.ports.iter().any(|flag| flag.address() == port.address()));
    let mut arguments = file.arguments;
    for (component, given) in flags.arguments {
        arguments.entry(component).or_default().extend(given);
    }
    Config {
        version: flags.version.or(file.version),
        count: flags.count.or(file.count),
        images: [file.images, flags.images].concat(),
        manifests: [file.manifests, flags.manifests].concat(),
        all_nodes: node(file.all_nodes, flags.all_nodes),
        nodes,
        mounts: [mounts, flags.mounts].concat(),
        ports: [ports, flags.ports].concat(),
        etcd: Etcd {
            fsync: flags.etcd.fsync.or(file.etcd.fsync),
            in_memory: flags.etcd.in_memory.or(file.etcd.in_memory),
        },
        api_server: ApiServer {
            audit: flags.api_server.audit.or(file.api_server.audit),
            pod_security: flags.api_server.pod_security.or(file.api_server.pod_security),
        },
        feature_gates: file
            .feature_gates
            .into_iter()
            .chain(flags.feature_gates)
            .collect(),
        arguments,
    }
}

/// The values of `all` for those fields that `own` sets, too.
fn restricted(all: &NodeConfig, own: &NodeConfig) -> NodeConfig {
    NodeConfig {
        role: None,
        cpus: all.cpus.filter(|_| own.cpus.is_some()),
        memory: all.memory.filter(|_| own.memory.is_some()),
        swap: all.swap.filter(|_| own.swap.is_some()),
        labels: own
            .labels
            .keys()
            .filter_map(|key| Some((key.clone(), all.labels.get(key)?.clone())))
            .collect(),
        taints: Vec::new(),
        sysctls: own
            .sysctls
            .keys()
            .filter_map(|key| Some((key.clone(), all.sysctls.get(key)?.clone())))
            .collect(),
    }
}

/// Merges two configurations of one node.
pub(super) fn node(first: NodeConfig, second: NodeConfig) -> NodeConfig {
    let mut taints = first.taints;
    taints.retain(|taint| {
        !second
            .taints
            .iter()
            .any(|other| other.identity() == taint.identity())
    });
    NodeConfig {
        role: second.role.or(first.role),
        cpus: second.cpus.or(first.cpus),
        memory: second.memory.or(first.memory),
        swap: second.swap.or(first.swap),
        labels: first.labels.into_iter().chain(second.labels).collect(),
        taints: [taints, second.taints].concat(),
        sysctls: first.sysctls.into_iter().chain(second.sysctls).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::merge;

    #[test]
    fn flags_take_precedence() {
        let file = Config::parse(
            r#"
            count = 3
            images = ["a.tar"]
            [all-nodes]
            cpus = 1
            labels = { a = "file", b = "file" }
            taints = ["t=file:NoSchedule", "u:NoExecute"]
            [nodes.node02]
            memory = "1GiB"
            [[mounts]]
            host = "/file"
            path = "/mnt/a"
            node = "node01"
            [[mounts]]
            host = "/file"
            path = "/mnt/b"
            [[ports]]
            host = 80
            port = 1
            [etcd]
            fsync = true
            in-memory = true
            [api-server]
            audit = true
            [arguments.kubelet]
            max-pods = 20
            "#,
        )
        .unwrap();
        let flags = Config::parse(
            r#"
            count = 1
            images = ["b.tar"]
            [all-nodes]
            memory = "2GiB"
            labels = { b = "flag" }
            taints = ["t=flag:NoSchedule"]
            [[mounts]]
            host = "/flag"
            path = "/mnt/a"
            [[ports]]
            host = 80
            port = 2
            [etcd]
            fsync = false
            [api-server]
            pod-security = 'baseline'
            [arguments.kubelet]
            max-pods = 30
            "#,
        )
        .unwrap();
        let expected = Config::parse(
            r#"
            count = 1
            images = ["a.tar", "b.tar"]
            [all-nodes]
            cpus = 1
            memory = "2GiB"
            labels = { a = "file", b = "flag" }
            taints = ["u:NoExecute", "t=flag:NoSchedule"]
            [nodes.node02]
            memory = "2GiB"
            [[mounts]]
            host = "/file"
            path = "/mnt/b"
            [[mounts]]
            host = "/flag"
            path = "/mnt/a"
            [[ports]]
            host = 80
            port = 2
            [etcd]
            fsync = false
            in-memory = true
            [api-server]
            audit = true
            pod-security = 'baseline'
            [arguments.kubelet]
            max-pods = "30"
            "#,
        )
        .unwrap();
        assert_eq!(merge(file, flags), expected);
    }
}
