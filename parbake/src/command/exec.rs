//! `parbake exec`, `parbake shell` and `parbake ssh`

use std::process::ExitCode;

use parbake_up::Cluster;

use crate::args::{ClusterArgs, GlobalArgs};

const EXAMPLES: &str = "\
Examples:
  parbake exec node01 -- crictl ps
  parbake exec --name ci node02 -- sh -c 'journalctl -u kubelet | tail'

The exit code is that of the command.";

/// Run a command on a node as root
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node, such as node01
    node: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Open a shell on a node as root, or run a command there
#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    /// The node, such as node01
    node: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The command and its arguments [default: a login shell]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        run(global, &self.cluster, &self.node, &self.command)
    }
}

impl ShellArgs {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let command = match self.command.is_empty() {
            true => vec!["bash".to_owned(), "--login".to_owned()],
            false => self.command,
        };
        run(global, &self.cluster, &self.node, &command)
    }
}

fn run(
    global: &GlobalArgs,
    cluster: &ClusterArgs,
    node: &str,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::find(&global.dir, &cluster.name)?;
    Ok(super::exit_code(
        cluster.command(node, command)?.run_in_foreground()?,
    ))
}
