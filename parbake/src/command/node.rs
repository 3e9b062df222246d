//! `parbake node`

use std::time::Duration;

use clap::Subcommand;
use parbake_cluster::{NodeName, Role};
use parbake_up::ClusterName;
use parbake_up::nodes::{self, AddOptions, NodeListing, RemoveOptions};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs, WatchArgs, node_count, timeout};
use crate::output::{self, table};

/// Add, remove and list the nodes of a running cluster
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List a cluster's nodes and their origin
    List(ListArgs),
    /// Add workers to a running cluster, offline, and wait until they are ready
    Add(AddArgs),
    /// Drain a worker and remove it from a running cluster
    Remove(RemoveArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  parbake node add
  parbake node add --count 2 --name ci

The nodes join with kubeadm, from the artifact's layers: nothing is pulled. They have the baked
images; load others again with `parbake image load`. If one node fails, none is added.";

const REMOVE_EXAMPLES: &str = "\
Examples:
  parbake node remove node04
  parbake node remove node04 --force

Pods are evicted, which respects disruption budgets; mirror pods, DaemonSet pods and emptyDir volumes
are deleted. If pods are left when the time is over, the node stays.";

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How many nodes to add
    #[arg(long, value_name = "N", default_value = "1", value_parser = node_count())]
    count: usize,
    /// Give up after this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = timeout)]
    wait: Duration,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub(crate) struct RemoveArgs {
    /// The node, such as node04
    node: NodeName,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Also delete pods without a controller, and pods that are left when the time is over
    #[arg(long)]
    force: bool,
    /// Wait this long for pods to leave, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = timeout)]
    wait: Duration,
}

#[derive(Debug, Serialize)]
struct Added {
    name: ClusterName,
    nodes: Vec<NodeName>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Removed {
    name: ClusterName,
    node: NodeName,
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        match self {
            Self::List(args) => args.run(global),
            Self::Add(args) => args.run(global),
            Self::Remove(args) => args.run(global),
        }
    }
}

impl ListArgs {
    fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let read = || Ok(super::block_on(nodes::list(&global.dir, &self.cluster.name))??);
        self.watch.print(global, read, |nodes| text(nodes))
    }
}

impl AddArgs {
    fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let added = super::block_on(nodes::add(&AddOptions {
            name: self.cluster.name.clone(),
            count: self.count,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        let report = Added {
            name: self.cluster.name,
            nodes: added.nodes.into_iter().map(|node| node.name).collect(),
            seconds: added.after.as_secs_f64(),
        };
        output::report(global.output, &report, |Added { name, nodes, seconds }| {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            let verb = if names.len() == 1 { "has" } else { "have" };
            let names = names.join(", ");
            format!("{names} {verb} joined cluster `{name}`, ready after {seconds:.1} s\n")
        })
    }
}

impl RemoveArgs {
    fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let report = Removed {
            name: self.cluster.name.clone(),
            node: self.node.clone(),
        };
        super::block_on(nodes::remove(&RemoveOptions {
            name: self.cluster.name,
            node: self.node,
            force: self.force,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        output::report(global.output, &report, |Removed { name, node }| {
            format!("removed {node} from cluster `{name}`\n")
        })
    }
}

fn text(nodes: &[NodeListing]) -> String {
    let rows = nodes.iter().map(|node| {
        let status = match node.ready {
            None => "",
            Some(true) => "Ready",
            Some(false) => "NotReady",
        };
        let role = match node.role {
            Role::ControlPlane => "control-plane",
            Role::Worker => "",
        };
        [
            node.name.to_string(),
            status.to_owned(),
            role.to_owned(),
            node.origin.to_string(),
            node.address.to_string(),
            node.pods.to_string(),
        ]
    });
    table(["NODE", "STATUS", "ROLES", "ORIGIN", "ADDRESS", "PODS"], rows)
}
