//! `parbake kubeconfig`

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use parbake_up::Cluster;
use parbake_up::kubeconfig::{Merged, default_path, merge, write};

use crate::cli::Global;
use crate::output;

const EXAMPLE: &str = "\
Examples:
  export KUBECONFIG=$(parbake kubeconfig --path)
  parbake kubeconfig --merge && kubectl --context parbake-default get nodes

It is the administrator's, and good until `parbake down`, which takes out again what `--merge` put
into a file. All else in that file stays, except for comments; what is its current context remains
so. Under sudo the file is root's, unless another is named.";

/// Print a cluster's kubeconfig, for any client on this host, or put it into a file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Print the name of the file instead of its content
    #[arg(long)]
    path: bool,
    /// Put the cluster into your own kubeconfig [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    merge: Option<Option<PathBuf>>,
    /// Write it to a file of its own, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "merge"])]
    write: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let path = Cluster::find_kubeconfig(&global.dir, &global.name)?;
        if let Some(file) = self.merge {
            let own = || default_path(env::var_os("KUBECONFIG"), env::var_os("HOME"));
            let file = file.map_or_else(own, Ok)?;
            let merged = merge(&global.dir, &global.name, &file)?;
            return output::print(global.output, &merged, text);
        }
        if self.path {
            return output::raw(format!("{}\n", path.display()).as_bytes());
        }
        let read = std::fs::read(&path);
        let content = read.with_context(|| format!("could not read `{}`", path.display()))?;
        match self.write {
            Some(file) if file != Path::new("-") => Ok(write(&file, &content)?),
            _ => output::raw(&content),
        }
    }
}

fn text(merged: &Merged) -> String {
    let Merged {
        file,
        context,
        current,
    } = merged;
    let use_it = match current {
        true => "kubectl get nodes".to_owned(),
        false => format!("kubectl --context {context} get nodes"),
    };
    format!(
        "context `{context}` is in `{}`; next: `{use_it}`\n",
        file.display()
    )
}
