//! `parbake reference`, for the documentation.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::args::path;
use crate::reference::{self, Topic};

/// Write the reference of all commands to a directory, as Markdown
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The directory
    #[arg(value_parser = path())]
    dir: PathBuf,
}

impl Args {
    pub(crate) fn run(self, command: clap::Command, topics: &[Topic]) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("could not create `{}`", self.dir.display()))?;
        for (name, text) in reference::pages(command, topics) {
            let path = self.dir.join(name);
            fs::write(&path, text).with_context(|| format!("could not write `{}`", path.display()))?;
        }
        Ok(())
    }
}
