//! `parbake list`

use parbake_up::{ClusterListing, list};

use crate::cli::Global;
use crate::output::{Watch, table};

/// List all clusters and what they are doing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    watch: Watch,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let look = || Ok(list(&global.dir)?);
        self.watch.print(global.output, look, |clusters| text(clusters))
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
