//! `parbake start` and `parbake restart`

use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::readiness::Milestones;
use parbake_up::{ClusterName, StartOptions, StartReport, restart, start};
use serde::Serialize;

use super::supervise;
use crate::args::{ClusterArgs, GlobalArgs, timeout};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake start                 the cluster `default`, which was stopped or created
  parbake start --name ci

The cluster keeps its identity and its data, so kubeconfigs stay valid. A running cluster is left
alone. A cluster that is not ready in time keeps running.";

/// Start a cluster that was created or stopped, and wait until it is ready
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    start: StartArgs,
}

/// Stop a cluster and start it again
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    start: StartArgs,
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Give up after this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = timeout)]
    wait: Duration,
}

#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    api: Option<SocketAddr>,
    /// False if the cluster ran already.
    started: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    milestones: Option<Milestones>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let options = self.start.options(global)?;
        let started = super::block_on(start(&options))??;
        print(global, options.name, started)
    }
}

impl RestartArgs {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let options = self.start.options(global)?;
        let started = super::block_on(restart(&options))??;
        print(global, options.name, started)
    }
}

impl StartArgs {
    fn options(self, global: &GlobalArgs) -> anyhow::Result<StartOptions> {
        Ok(StartOptions {
            name: self.cluster.name,
            wait: self.wait,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        })
    }
}

fn print(global: &GlobalArgs, name: ClusterName, started: StartReport) -> anyhow::Result<()> {
    let report = Report {
        name,
        api: started.record.api,
        started: started.milestones.is_some(),
        milestones: started.milestones,
    };
    output::report(global.output, &report, text)
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
        None => format!("cluster `{name}` is already running{api}\n"),
    }
}
