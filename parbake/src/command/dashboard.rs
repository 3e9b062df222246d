//! `parbake dashboard`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::bail;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::dashboard;
use crate::output::Format;

const KEYS: &str = "\
Keys:
  arrows, j, k   select a cluster, or scroll        tab     switch between clusters, pods, events
  enter          details of the cluster, and back   s       start or stop it
  p              pause or resume it                 d       remove it, after confirmation
  ?              help                               q       quit

Starts by other commands are shown live, too. NO_COLOR=1 disables colours.";

/// Watch and control all clusters on a full-screen page
#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if !terminal || global.output == Format::Json {
            bail!(
                "the dashboard needs a terminal\n\
                 use `parbake list --watch`, `parbake status --watch` or `parbake events --follow`"
            );
        }
        dashboard::run(global, self.cluster.name)
    }
}
