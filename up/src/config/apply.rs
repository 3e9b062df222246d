//! Applies a configuration to the plan of a cluster's machines and to its nodes in the API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::api::pod_security;
use parbake_cluster::model::labels_and_taints::LabelsAndTaints;
use parbake_cluster::model::machine_plan::Boot;
use parbake_cluster::{Client, Description, Node, NodeName, Role};
use parbake_machine::cgroup::Limits;
use parbake_machine::fs::Dirs;
use parbake_machine::host::HostSettings;
use parbake_machine::plan::{Bind, Forward, MachinePlan, Plan};

use super::host::HostSize;
use super::{Config, ConfigError, component, control_plane, kubelet};

/// The plan with `config` applied to its machines and ports.
///
/// # Errors
/// A static pod manifest in a node's layers cannot be changed, or the size of the host cannot be read.
pub(crate) fn configure(
    mut plan: Plan,
    config: &Config,
    cluster: &Description,
    boot: Boot,
) -> Result<Plan, ConfigError> {
    for node in cluster.nodes() {
        let name = node.name.as_str();
        if let Some(machine) = plan
            .machines
            .iter_mut()
            .find(|machine| machine.endpoint.name == name)
        {
            configure_machine(machine, config, cluster, node, &plan.host, boot)?;
        }
    }
    plan.forwards.extend(forwards(config, cluster));
    Ok(plan)
}

/// Applies `config` to one machine, see [`configure`].
///
/// # Errors
/// Those of [`configure`].
pub(crate) fn configure_machine(
    machine: &mut MachinePlan,
    config: &Config,
    cluster: &Description,
    node: &Node,
    host: &HostSettings,
    boot: Boot,
) -> Result<(), ConfigError> {
    let own = config.node(&node.name);
    machine.limits = Limits {
        millicpus: own.cpus.map(|cpus| cpus.millis()),
        memory: own.memory.map(|memory| memory.bytes()),
        swap: own.swap == Some(true),
    };
    machine.sysctls = own
        .sysctls
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_str().to_owned()))
        .collect();
    machine.binds.extend(binds(config, &node.name));
    // Files of a machine that has run may have been changed.
    let upper = (boot == Boot::Restart).then(|| Dirs(&machine.dir).upper());
    let stack: Vec<PathBuf> = machine.layers.iter().cloned().chain(upper).collect();
    if node.role == Role::ControlPlane {
        for (program, change) in control_plane::changes(config) {
            machine
                .files
                .extend(component::manifest(program, &change, &stack)?);
        }
        let compat = cluster.kubernetes().compat();
        machine.files.extend(control_plane::files(config, compat)?);
        machine.in_memory = control_plane::in_memory(config);
    }
    machine.files.extend(kubelet::swap(&own, &stack)?);
    machine.files.extend(kubelet::flags(config, &stack)?);
    // The first start writes this file anyway.
    let stack = if boot == Boot::Restart {
        stack.as_slice()
    } else {
        &[]
    };
    let size = || HostSize::of(Path::new("/"));
    machine
        .files
        .extend(kubelet::reservation(&own, size, stack, host)?);
    Ok(())
}

/// The mounts of a node, outer ones before those inside of them.
fn binds(config: &Config, node: &NodeName) -> Vec<Bind> {
    let mounts = config.mounts.iter();
    let mounts = mounts.filter(|mount| mount.node.as_ref().is_none_or(|only| only == node));
    let mut binds: Vec<Bind> = mounts
        .map(|mount| Bind {
            from: mount.host.clone(),
            to: mount.path.relative().to_owned(),
            read_only: mount.read_only,
        })
        .collect();
    binds.sort_by(|one, other| one.to.cmp(&other.to));
    binds
}

fn forwards(config: &Config, cluster: &Description) -> Vec<Forward> {
    let ports = config.ports.iter();
    let forward = |port: &super::Port| {
        let node = match &port.node {
            Some(name) => cluster.node(name)?,
            None => cluster.nodes().first()?,
        };
        Some(Forward {
            listen: port.address(),
            to: SocketAddr::from((node.address, port.port.get())),
            movable: false,
        })
    };
    ports.filter_map(forward).collect()
}

/// True if the configuration changes arguments of the control plane's components.
pub(crate) fn changes_control_plane(config: &Config) -> bool {
    !control_plane::changes(config).is_empty()
}

/// Exempts namespaces that are older than `before`, or all of them, from the pod security standard.
///
/// # Errors
/// It takes longer than `limit`, or the API rejects it.
pub(crate) async fn exempt_namespaces(
    config: &Config,
    client: &Client,
    before: Option<Timestamp>,
    limit: Duration,
) -> Result<(), ConfigError> {
    if config.api_server.pod_security.is_none() {
        return Ok(());
    }
    Ok(pod_security::exempt_namespaces(client, before, limit).await?)
}

/// The labels and taints of those of `nodes` that have any.
pub(crate) fn labels_and_taints(config: &Config, nodes: &[Node]) -> BTreeMap<NodeName, LabelsAndTaints> {
    let of = |node: &Node| {
        let own = config.node(&node.name);
        let labels = own.labels.iter();
        let marks = LabelsAndTaints {
            labels: labels
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            taints: own.taints,
        };
        (node.name.clone(), marks)
    };
    let all = nodes.iter().map(of);
    all.filter(|(_, marks)| *marks != LabelsAndTaints::default())
        .collect()
}
