//! `parbake down`

use parbake_up::{ClusterName, down};
use serde::Serialize;

use crate::cli::Global;
use crate::output;

/// Remove a cluster without a trace, whether it runs or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    removed: ClusterName,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        down(&global.dir, &global.name)?;
        let report = Report {
            removed: global.name.clone(),
        };
        output::print(global.output, &report, |report| {
            format!("cluster `{}` is gone\n", report.removed)
        })
    }
}
