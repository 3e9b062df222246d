//! `parbake pause` and `parbake unpause`

use parbake_up::{ClusterName, pause, unpause};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::output;

/// Pause a cluster: it keeps its memory and uses no CPU
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Resume a paused cluster
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    /// False if the cluster was in this state already.
    changed: bool,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = self.cluster.name;
        let changed = pause(&global.dir, &name)?;
        print(
            global,
            Report { name, changed },
            ["is paused", "was already paused"],
        )
    }
}

impl UnpauseArgs {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = self.cluster.name;
        let changed = super::block_on(unpause(&global.dir, &name))??;
        print(
            global,
            Report { name, changed },
            ["is running again", "was not paused"],
        )
    }
}

fn print(global: &GlobalArgs, report: Report, [changed, unchanged]: [&str; 2]) -> anyhow::Result<()> {
    output::report(global.output, &report, |report| {
        let state = if report.changed { changed } else { unchanged };
        format!("cluster `{}` {state}\n", report.name)
    })
}
