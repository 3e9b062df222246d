//! `parbake cp`

use std::process::ExitCode;

use clap::error::ErrorKind;
use parbake_up::Cluster;
use parbake_up::copy::{Copied, Endpoint, copy};

use crate::cli::Global;
use crate::output::{self, size};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  parbake cp app.conf node02:/etc/app/       into a directory that is there
  parbake cp node01:/var/log/pods ./pods     a directory, under another name
  parbake cp ./a:b node01:/tmp/a             a file of this host with a colon in its name

Modes and links stay; all belongs to root in the node, and to you here. A file replaces a file;
a directory replaces nothing. Paths of a node are below /root unless they begin with a slash.";

/// Copy files and directories into a node or out of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to copy: a path here, or NODE:PATH
    from: Endpoint,
    /// Where to: the other of both
    to: Endpoint,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if matches!(self.from, Endpoint::Node(..)) == matches!(self.to, Endpoint::Node(..)) {
            let text =
                "one of both must be on a node, as in `node01:/etc/hosts`, and the other on this host\n";
            return Ok(report::usage(&clap::Error::raw(ErrorKind::ValueValidation, text)));
        }
        let cluster = Cluster::find(&global.dir, &global.name)?;
        let copied = copy(&cluster, &self.from, &self.to)?;
        for path in &copied.skipped {
            tracing::warn!("left out `{}`: it is no file, directory or link", path.display());
        }
        output::print(global.output, &copied, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(copied: &Copied) -> String {
    let entries = usize::try_from(copied.entries).unwrap_or(usize::MAX);
    let entries = match entries {
        1 => "1 entry".to_owned(),
        more => format!("{more} entries"),
    };
    format!("`{}`: {entries}, {}\n", copied.to.display(), size(copied.bytes))
}
