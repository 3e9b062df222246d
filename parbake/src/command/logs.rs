//! `parbake logs`

use std::io::{self, Write};
use std::path::PathBuf;

use parbake_up::Cluster;
use parbake_up::logs::{Exported, LogsError, ShowOptions, export, show};

use crate::args::{ClusterArgs, GlobalArgs, path};
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake logs node02 --follow               the journal of a node, with kubelet and runtime
  parbake logs --containers --lines 20       the last lines of all containers, in CRI format
  parbake logs --export logs.tar.gz          everything, for a bug report

An export contains the journals and container logs of all nodes, nodes, pods, workloads and events
from the API, and parbake's state of the cluster. It contains no secrets and no config maps, and
anything that looks like a key or a token is redacted. Passwords in environment variables of pods
are not recognised.";

/// Show the logs of nodes or containers, or export everything
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node, such as node01 [default: all]
    node: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Keep printing new lines
    #[arg(short, long)]
    follow: bool,
    /// Show only the last N lines [default: all, or 10 with `--follow`]
    #[arg(long, value_name = "N")]
    lines: Option<usize>,
    /// Show the containers' logs instead of the nodes' journals
    #[arg(long)]
    containers: bool,
    /// Write everything to a new directory, or to an archive (.tar, .tar.gz, .tgz)
    #[arg(long, value_name = "PATH", value_parser = path(), conflicts_with_all = ["node", "follow", "lines", "containers"])]
    export: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let cluster = Cluster::find(&global.dir, &self.cluster.name)?;
        if let Some(path) = self.export {
            let exported = export(&cluster, &global.dir, &path)?;
            for missing in &exported.missing {
                tracing::warn!("`{}` is incomplete: {}", missing.file.display(), missing.why);
            }
            return output::print(global.output, &exported, text);
        }
        let options = ShowOptions {
            lines: self.lines.or(self.follow.then_some(10)),
            node: self.node,
            follow: self.follow,
            containers: self.containers,
        };
        let mut output = io::stdout().lock();
        let shown = show(&cluster, &options, |node, line| {
            if options.node.is_none() {
                write!(output, "{node} ")?;
            }
            output.write_all(line)?;
            // The last line, and one that is too long, may lack it.
            if !line.ends_with(b"\n") {
                output.write_all(b"\n")?;
            }
            Ok(())
        });
        match shown {
            // The reader closed the pipe, as `head` does.
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
        "exported to `{}`: {}, {}\n",
        exported.path.display(),
        count(usize::try_from(exported.files).unwrap_or(usize::MAX), "file"),
        size(exported.bytes)
    )
}
