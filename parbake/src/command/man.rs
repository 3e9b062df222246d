//! `parbake man`, for those who make packages.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Cli;

/// Write the manual pages of all commands to a directory
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The directory
    dir: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        std::fs::create_dir_all(&self.dir).with_context(|| format!("could not make `{dir}`"))?;
        clap_mangen::generate_to(Cli::command(), &self.dir)
            .with_context(|| format!("could not write the manual pages to `{dir}`"))
    }
}
