//! `parbake down`

use parbake_up::{ClusterName, down};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::output;

/// Remove a cluster and everything that belongs to it, running or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    removed: ClusterName,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let removed = self.cluster.name;
        down(&global.dir, &removed)?;
        output::report(global.output, &Report { removed }, |report| {
            format!("removed cluster `{}`\n", report.removed)
        })
    }
}
