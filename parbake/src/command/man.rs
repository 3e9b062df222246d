//! `parbake man`, for packages.

use std::path::PathBuf;

use anyhow::Context;

use crate::args::path;

/// Write the manual pages of all commands to a directory
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The directory
    #[arg(value_parser = path())]
    dir: PathBuf,
}

impl Args {
    pub(crate) fn run(self, command: clap::Command) -> anyhow::Result<()> {
        let dir = self.dir.display();
        std::fs::create_dir_all(&self.dir).with_context(|| format!("could not create `{dir}`"))?;
        clap_mangen::generate_to(command, &self.dir)
            .with_context(|| format!("could not write the manual pages to `{dir}`"))
    }
}
