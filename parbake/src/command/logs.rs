//! `parbake logs`

use std::io::{self, Write};
use std::path::PathBuf;

use parbake_up::Cluster;
use parbake_up::logs::{Exported, LogsError, ShowOptions, export, show};

use crate::cli::Global;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake logs node02 --follow               a node's journal, kubelet and runtime in it
  parbake logs --containers --lines 20       the last words of all containers, as CRI has them
  parbake logs --export logs.tar.gz          all there is, for a report

An export holds every node's journal and containers' logs, what the API says of nodes, pods,
workloads and events, and parbake's own state of the cluster. It holds no secret and no
configuration map, and what looks like a key or a token is blotted out, wherever it was logged;
passwords in environment variables of pods are not recognised.";

/// Show what nodes and containers wrote down, or export all of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// One node, such as node01 [default: all]
    node: Option<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Show so many of the last lines [default: all, or 10 with `--follow`]
    #[arg(long, value_name = "N")]
    lines: Option<usize>,
    /// Show the containers' logs instead of the nodes' journals
    #[arg(long)]
    containers: bool,
    /// Write everything to a new directory, or to an archive if it ends in .tar, .tar.gz or .tgz
    #[arg(long, value_name = "PATH", conflicts_with_all = ["node", "follow", "lines", "containers"])]
    export: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        if let Some(path) = self.export {
            let exported = export(&cluster, &global.dir, &path)?;
            for missing in &exported.missing {
                tracing::warn!("`{}` is not whole: {}", missing.file.display(), missing.why);
            }
            return output::print(global.output, &exported, text);
        }
        let wanted = ShowOptions {
            lines: self.lines.or(self.follow.then_some(10)),
            node: self.node,
            follow: self.follow,
            containers: self.containers,
        };
        let mut output = io::stdout().lock();
        let shown = show(&cluster, &wanted, |node, line| {
            if wanted.node.is_none() {
                write!(output, "{node} ")?;
            }
            output.write_all(line)?;
            // One that was cut off, by the end or by its length.
            if !line.ends_with(b"\n") {
                output.write_all(b"\n")?;
            }
            Ok(())
        });
        match shown {
            // The reader has seen enough.
            Err(parbake_up::Error::Logs(LogsError::Output(error)))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                Ok(())
            }
            shown => Ok(shown?),
        }
    }
}

fn text(exported: &Exported) -> String {
    format!(
        "`{}`: {}, {}\n",
        exported.path.display(),
        count(usize::try_from(exported.files).unwrap_or(usize::MAX), "file"),
        size(exported.bytes)
    )
}
