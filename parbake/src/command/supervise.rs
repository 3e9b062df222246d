//! `parbake supervise`, which parbake itself starts.

use parbake_machine::process::Cmd;
use parbake_machine::supervisor;

const NAME: &str = "supervise";

/// Run a cluster's machines: reads a plan from standard input
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(supervisor::supervise()?)
    }
}

/// The command line that runs this command.
pub(crate) fn command() -> anyhow::Result<Cmd> {
    Ok(Cmd::new(std::env::current_exe()?).arg(NAME))
}
