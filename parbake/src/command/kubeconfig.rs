//! `parbake kubeconfig`

use anyhow::Context;
use parbake_up::Cluster;

use crate::cli::Global;
use crate::output;

const EXAMPLE: &str = "\
Example:
  export KUBECONFIG=$(parbake kubeconfig --path)

It is the administrator's, and good until `parbake down`.";

/// Print a cluster's kubeconfig, for any client on this host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Print the name of the file instead of its content
    #[arg(long)]
    path: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let path = Cluster::find_kubeconfig(&global.dir, &global.name)?;
        if self.path {
            return output::raw(format!("{}\n", path.display()).as_bytes());
        }
        let text = std::fs::read(&path).with_context(|| format!("could not read `{}`", path.display()))?;
        output::raw(&text)
    }
}
