//! `parbake list`

use parbake_up::{ClusterListing, list};

use crate::args::{GlobalArgs, WatchArgs};
use crate::output::table;

/// List all clusters and their states
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    watch: WatchArgs,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        self.watch
            .print(global, || Ok(list(&global.dir)?), |clusters| text(clusters))
    }
}

fn text(clusters: &[ClusterListing]) -> String {
    if clusters.is_empty() {
        return "no clusters: start one with `parbake up`\n".to_owned();
    }
    let rows = clusters.iter().map(|cluster| {
        [
            cluster.name.to_string(),
            cluster.state.to_string(),
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
