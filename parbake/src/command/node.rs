//! `parbake node`: nodes that come to a running cluster, or leave it.

use std::time::Duration;

use clap::Subcommand;
use parbake_cluster::{NodeName, Role};
use parbake_up::ClusterName;
use parbake_up::nodes::{self, AddOptions, NodeListing, RemoveOptions};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, Watch, table};

/// Add nodes to a running cluster, remove or list them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List a cluster's nodes, and where they come from
    List(ListArgs),
    /// Add workers to a running cluster, offline; they are ready when the command ends
    Add(AddArgs),
    /// Remove a worker from a running cluster, after its pods have left
    Remove(RemoveArgs),
}

const ADDED: &str = "\
Examples:
  parbake node add
  parbake node add --count 2 --name ci

The nodes join with kubeadm, from the artifact's layers: nothing is pulled. They have the images
that were baked; those that were loaded since are to be loaded anew. When one fails, none is added.";

const REMOVED: &str = "\
Examples:
  parbake node remove node04
  parbake node remove node04 --force

Its pods are evicted, so disruption budgets are kept; those that belong to the node go with it, and
what is in emptyDir volumes goes with its pod. When they do not leave in time, the node stays.";

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ADDED)]
pub(crate) struct AddArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value = "1", value_parser = super::node_count())]
    count: usize,
    /// How long it may take until they are ready, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = super::up::duration)]
    wait: Duration,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REMOVED)]
pub(crate) struct RemoveArgs {
    /// The node, such as node04
    node: NodeName,
    /// Remove pods that nobody makes anew too, and what has not left in time
    #[arg(long)]
    force: bool,
    /// How long its pods may take to leave, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = super::up::duration)]
    wait: Duration,
}

/// What is printed of an addition.
#[derive(Debug, Serialize)]
struct Added {
    name: ClusterName,
    nodes: Vec<NodeName>,
    seconds: f64,
}

/// What is printed of a removal.
#[derive(Debug, Serialize)]
struct Removed {
    name: ClusterName,
    node: NodeName,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::List(args) => args.run(global),
            Self::Add(args) => args.run(global),
            Self::Remove(args) => args.run(global),
        }
    }
}

impl ListArgs {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let look = || Ok(super::block_on(nodes::list(&global.dir, &global.name))??);
        self.watch.print(global.output, look, |nodes| text(nodes))
    }
}

impl AddArgs {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let added = super::block_on(nodes::add(&AddOptions {
            name: global.name.clone(),
            count: self.count,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        let report = Added {
            name: global.name.clone(),
            nodes: added.nodes.into_iter().map(|node| node.name).collect(),
            seconds: added.after.as_secs_f64(),
        };
        output::print(global.output, &report, |Added { name, nodes, seconds }| {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            let verb = if names.len() == 1 { "has" } else { "have" };
            let names = names.join(", ");
            format!("{names} {verb} joined the cluster `{name}`, ready after {seconds:.1} s\n")
        })
    }
}

impl RemoveArgs {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let report = Removed {
            name: global.name.clone(),
            node: self.node.clone(),
        };
        super::block_on(nodes::remove(&RemoveOptions {
            name: global.name.clone(),
            node: self.node,
            force: self.force,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        output::print(global.output, &report, |Removed { name, node }| {
            format!("{node} is removed from the cluster `{name}`\n")
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
