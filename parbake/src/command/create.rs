//! `parbake create`

use parbake_up::{ClusterName, create};
use serde::Serialize;

use super::configuration::ConfigArgs;
use super::named::{Named, meant};
use super::registry::{DeltaArgs, RegistryArgs};
use crate::cli::Global;
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake create k8s-1.34 --name ci --nodes 1
  parbake start --name ci

`parbake up` does both at once.";

/// Write a cluster down, ready to be started; nothing runs yet
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, or REGISTRY/REPOSITORY[:TAG][@DIGEST], which is pulled if the
    /// store does not have it [default: what the project's parbake.toml pins]
    artifact: Option<Named>,
    /// Give the cluster a way to the outside, at every start; it has none otherwise
    #[arg(long)]
    internet: bool,
    #[command(flatten)]
    deltas: DeltaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    artifact: String,
    digest: String,
    nodes: usize,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let wanted = self.configuration.wanted()?;
        let tag = meant(global, self.artifact, &self.deltas, self.registry)?;
        let record = create(&global.dir, &global.name, tag, &wanted, self.internet)?;
        let report = Report {
            name: global.name.clone(),
            artifact: record.tag.to_string(),
            digest: record.artifact.to_string(),
            nodes: record.cluster.nodes().len(),
        };
        output::print(global.output, &report, |report| {
            let (name, nodes) = (&report.name, count(report.nodes, "node"));
            format!("cluster `{name}` is created: {nodes}; start it with `parbake start --name {name}`\n")
        })
    }
}
