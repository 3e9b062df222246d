//! `parbake status`

use parbake_cluster::summary::{self, Summary};
use parbake_up::Cluster;

use crate::cli::Global;
use crate::output::{self, table};

/// Show a running cluster's nodes and pods, as its API has them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        let summary = super::block_on(async {
            let client = cluster.client().await?;
            anyhow::Ok(summary::fetch(&client).await?)
        })??;
        output::print(global.output, &summary, text)
    }
}

fn text(summary: &Summary) -> String {
    let nodes = summary.nodes.iter().map(|node| {
        let ready = if node.ready { "Ready" } else { "NotReady" };
        [
            node.name.clone(),
            ready.to_owned(),
            node.roles.join(","),
            node.version.clone(),
        ]
    });
    let pods = summary.pods.iter().map(|pod| {
        [
            pod.namespace.clone(),
            pod.name.clone(),
            format!("{}/{}", pod.ready, pod.containers),
            pod.state.clone(),
            pod.node.clone().unwrap_or_default(),
        ]
    });
    let nodes = table(["NODE", "STATUS", "ROLES", "VERSION"], nodes);
    format!(
        "{nodes}\n{}",
        table(["NAMESPACE", "POD", "READY", "STATUS", "NODE"], pods)
    )
}
