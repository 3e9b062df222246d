//! `parbake create`

use parbake_up::{ClusterName, create};
use serde::Serialize;

use crate::args::{GlobalArgs, NewClusterArgs};
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake create k8s-1.34 --name ci --nodes 1
  parbake start --name ci

`parbake up` does both.";

/// Create a cluster without starting it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    new: NewClusterArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    artifact: String,
    digest: String,
    nodes: usize,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let (name, internet) = (self.new.cluster.name.clone(), self.new.internet);
        let (tag, wanted) = self.new.resolve(global)?;
        let record = create(&global.dir, &name, tag, &wanted, internet)?;
        let report = Report {
            name,
            artifact: record.tag.to_string(),
            digest: record.artifact.to_string(),
            nodes: record.cluster.nodes().len(),
        };
        output::report(global.output, &report, |report| {
            let (name, nodes) = (&report.name, count(report.nodes, "node"));
            format!("created cluster `{name}`: {nodes}\nstart it with `parbake start --name {name}`\n")
        })
    }
}
