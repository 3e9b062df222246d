//! `parbake dashboard`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::Global;
use crate::dashboard;
use crate::output::Format;

const KEYS: &str = "\
Keys:
  arrows, j, k   choose a cluster, or scroll        tab     go to the pods, the events and back
  enter          all about the cluster, and back    s       start it, or stop it
  p              pause it, or let it go on          d       remove it; asks first
  ?              help                               q       quit

Starts that other commands make are shown too, while they go on. NO_COLOR=1 does without colours.";

/// Look at all clusters, their nodes, pods and events, and at starts while they go on
#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if !terminal || global.output == Format::Json {
            bail!(
                "the dashboard is for people at a terminal; elsewhere use `parbake list --watch`, `parbake status \
                 --watch` or `parbake events --follow`"
            );
        }
        dashboard::run(global)
    }
}
