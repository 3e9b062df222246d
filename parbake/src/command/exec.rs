//! `parbake exec`, `parbake shell` and `parbake ssh`

use std::process::ExitCode;

use parbake_up::Cluster;

use crate::cli::Global;

const EXAMPLES: &str = "\
Examples:
  parbake exec node01 -- crictl ps
  parbake exec --name ci node02 -- sh -c 'journalctl -u kubelet | tail'

Ends with the command's own exit code.";

/// Run a command on a node, as root
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node, such as node01
    node: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Open a shell on a node, as root, or run a command there
#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    /// The node, such as node01
    node: String,
    /// The command and its arguments [default: a login shell]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        run(global, &self.node, &self.command)
    }
}

impl ShellArgs {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let login = ["bash".to_owned(), "--login".to_owned()];
        run(
            global,
            &self.node,
            if self.command.is_empty() {
                &login
            } else {
                &self.command
            },
        )
    }
}

fn run(global: &Global, node: &str, words: &[String]) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::find(&global.dir, &global.name)?;
    Ok(super::exit_code(cluster.on(node, words)?.run_attached()?))
}
