//! `parbake start` and `parbake restart`

use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::readiness::Milestones;
use parbake_up::{ClusterName, StartOptions, StartReport, restart, start};
use serde::Serialize;

use super::supervise;
use crate::cli::Global;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake start                 the cluster `default`, which was stopped or created
  parbake start --name ci

It has the identity and the data that it had when it was stopped or its host went down: kubeconfigs
stay good. One that runs already is left alone. When it is not ready in time it runs all the same.";

/// Start a cluster that was created or stopped; it is ready when the command ends
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
}

/// Stop a cluster and start it again
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// How long a start may take, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = super::up::duration)]
    wait: Duration,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    api: Option<SocketAddr>,
    /// Whether it did not run before.
    started: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    milestones: Option<Milestones>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let options = self.how.options(global)?;
        print(global, super::block_on(start(&options))??)
    }
}

impl RestartArgs {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let options = self.how.options(global)?;
        print(global, super::block_on(restart(&options))??)
    }
}

impl How {
    fn options(self, global: &Global) -> anyhow::Result<StartOptions> {
        Ok(StartOptions {
            name: global.name.clone(),
            wait: self.wait,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        })
    }
}

fn print(global: &Global, started: StartReport) -> anyhow::Result<()> {
    let report = Report {
        name: global.name.clone(),
        api: started.record.api,
        started: started.milestones.is_some(),
        milestones: started.milestones,
    };
    output::print(global.output, &report, text)
}

fn text(report: &Report) -> String {
    let name = &report.name;
    let api = report.api.map(|api| format!(", API at https://{api}"));
    let api = api.unwrap_or_default();
    match report.milestones {
        Some(times) => format!(
            "cluster `{name}` is ready after {:.1} s{api}\n",
            times.ready.as_secs_f64()
        ),
        None => format!("cluster `{name}` runs already{api}\n"),
    }
}
