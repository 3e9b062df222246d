//! `parbake pause` and `parbake unpause`

use parbake_up::{ClusterName, pause, unpause};
use serde::Serialize;

use crate::cli::Global;
use crate::output;

/// Make a running cluster stand still: it keeps its memory and uses no processor
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Let a paused cluster go on
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    /// Whether it was not like that before.
    changed: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let changed = pause(&global.dir, &global.name)?;
        print(global, changed, ["is paused", "was paused already"])
    }
}

impl UnpauseArgs {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let changed = super::block_on(unpause(&global.dir, &global.name))??;
        print(global, changed, ["goes on", "was not paused"])
    }
}

fn print(global: &Global, changed: bool, [now, before]: [&str; 2]) -> anyhow::Result<()> {
    let report = Report {
        name: global.name.clone(),
        changed,
    };
    output::print(global.output, &report, |report| {
        let state = if report.changed { now } else { before };
        format!("cluster `{}` {state}\n", report.name)
    })
}
