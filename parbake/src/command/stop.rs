//! `parbake stop`

use parbake_up::{ClusterName, stop};
use serde::Serialize;

use crate::cli::Global;
use crate::output;

const EXPLAINED: &str = "\
Pods are asked to end (SIGTERM) and killed after 10 s, then etcd is closed and the nodes power off.
What they wrote stays, with the cluster's identity: `parbake start` brings it back. One that does
not run is left alone.";

/// Stop a cluster; it keeps its identity and its data
#[derive(Debug, clap::Args)]
#[command(after_help = EXPLAINED)]
pub(crate) struct Args {}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    /// Whether it ran before.
    stopped: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let report = Report {
            stopped: stop(&global.dir, &global.name)?,
            name: global.name.clone(),
        };
        output::print(global.output, &report, |Report { name, stopped }| {
            let state = if *stopped { "is stopped" } else { "did not run" };
            format!("cluster `{name}` {state}; start it with `parbake start --name {name}`\n")
        })
    }
}
