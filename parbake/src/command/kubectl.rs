//! `parbake kubectl`

use std::process::ExitCode;

use parbake_up::Cluster;

use crate::cli::Global;

/// Run the cluster's own kubectl
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// kubectl's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    words: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        let kubectl = cluster.kubectl(&global.dir, &self.words)?;
        Ok(super::exit_code(kubectl.run_attached()?))
    }
}
