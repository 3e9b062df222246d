//! `parbake supervise`, which `up` and `provision` call: not for people.

use parbake_machine::process::Cmd;
use parbake_machine::supervisor;

/// Hold a cluster's machines: reads a plan from standard input
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// The name of the command.
const NAME: &str = "supervise";

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        Ok(supervisor::supervise()?)
    }
}

/// How to start this command.
pub(crate) fn command() -> anyhow::Result<Cmd> {
    Ok(Cmd::new(std::env::current_exe()?).arg(NAME))
}
