//! `parbake list`

use parbake_up::{Condition, Listed, list};

use crate::cli::Global;
use crate::output::{self, table};

/// List all clusters
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        output::print(global.output, &list(&global.dir)?, |clusters| text(clusters))
    }
}

fn text(clusters: &[Listed]) -> String {
    if clusters.is_empty() {
        return "no clusters: start one with `parbake up`\n".to_owned();
    }
    let rows = clusters.iter().map(|cluster| {
        [
            cluster.name.to_string(),
            state(cluster.state).to_owned(),
            cluster.artifact.clone(),
            cluster.kubernetes.clone(),
            cluster.nodes.to_string(),
            cluster
                .api
                .map(|api| format!("https://{api}"))
                .unwrap_or_default(),
        ]
    });
    table(["NAME", "STATE", "ARTIFACT", "KUBERNETES", "NODES", "API"], rows)
}

fn state(condition: Condition) -> &'static str {
    match condition {
        Condition::Starting => "starting",
        Condition::Running => "running",
        Condition::Stopped => "stopped",
    }
}
