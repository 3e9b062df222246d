//! `parbake kubeconfig`

use anyhow::Context;
use parbake_up::Cluster;

use crate::cli::Global;
use crate::output;

/// Print a cluster's kubeconfig
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print where the file is instead
    #[arg(long)]
    path: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let path = Cluster::find(&global.dir, &global.name)?.kubeconfig();
        if self.path {
            return output::raw(format!("{}\n", path.display()).as_bytes());
        }
        let text = std::fs::read(&path).with_context(|| format!("could not read `{}`", path.display()))?;
        output::raw(&text)
    }
}
