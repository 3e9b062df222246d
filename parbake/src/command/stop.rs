//! `parbake stop`

use parbake_up::{ClusterName, stop};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::output;

const DETAILS: &str = "\
Pods get SIGTERM and are killed after 10 s, then etcd is closed and the nodes power off. The
cluster keeps its data and its identity: `parbake start` starts it again.";

/// Stop a cluster; it keeps its identity and its data
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    /// False if the cluster was not running.
    stopped: bool,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = self.cluster.name;
        let report = Report {
            stopped: stop(&global.dir, &name)?,
            name,
        };
        output::report(global.output, &report, |Report { name, stopped }| {
            let state = if *stopped { "is stopped" } else { "was not running" };
            format!("cluster `{name}` {state}; start it with `parbake start --name {name}`\n")
        })
    }
}
