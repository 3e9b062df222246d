//! `parbake cp`

use std::process::ExitCode;

use clap::error::ErrorKind;
use parbake_up::Cluster;
use parbake_up::copy::{Copied, Endpoint, copy};

use crate::args::{ClusterArgs, GlobalArgs};
use crate::error_report;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake cp app.conf node02:/etc/app/       into an existing directory
  parbake cp node01:/var/log/pods ./pods     a directory, under another name
  parbake cp ./a:b node01:/tmp/a             a local file with a colon in its name

Modes and links are kept. Copies belong to root on the node, and to you on this host. A file replaces
an existing file; a directory never replaces anything. Relative paths on a node are below /root.";

/// Copy files and directories to or from a node
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The source: a local path, or NODE:PATH
    from: Endpoint,
    /// The destination: NODE:PATH, or a local path
    to: Endpoint,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        if matches!(self.from, Endpoint::Node(..)) == matches!(self.to, Endpoint::Node(..)) {
            let text = "exactly one side must be `NODE:PATH`, such as `node01:/etc/hosts`\n";
            return Ok(error_report::usage(&clap::Error::raw(
                ErrorKind::ValueValidation,
                text,
            )));
        }
        let cluster = Cluster::find(&global.dir, &self.cluster.name)?;
        let copied = copy(&cluster, &self.from, &self.to)?;
        for path in &copied.skipped {
            tracing::warn!(
                "skipped `{}`: it is not a file, directory or link",
                path.display()
            );
        }
        output::report(global.output, &copied, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(copied: &Copied) -> String {
    let entries = usize::try_from(copied.entries).unwrap_or(usize::MAX);
    let (to, entries) = (copied.to.display(), count(entries, "entry"));
    format!("copied to `{to}`: {entries}, {}\n", size(copied.bytes))
}
