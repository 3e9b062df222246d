//! `parbake kubeconfig`

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::User;
use parbake_up::Cluster;
use parbake_up::kubeconfig::{Merged, default_path, merge, write};

use crate::args::{ClusterArgs, GlobalArgs, path};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  export KUBECONFIG=$(parbake kubeconfig --path)
  parbake kubeconfig --merge && kubectl --context parbake-default get nodes
  sudo parbake kubeconfig --merge --user $USER

The kubeconfig is the cluster administrator's, and valid until `parbake down`, which also removes the
context that `--merge` added. `--merge` keeps everything else in the file, except for comments, and its
current context. Under sudo the default file is root's; `--user` selects another user's.";

/// Print a cluster's kubeconfig, or write it to a file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the path of the file instead of its content
    #[arg(long)]
    path: bool,
    /// Add the cluster to your kubeconfig [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE", conflicts_with = "path", value_parser = path())]
    merge: Option<Option<PathBuf>>,
    /// Add it to the kubeconfig of this user, who then controls the cluster [default: yourself]
    #[arg(long, value_name = "USER", requires = "merge")]
    user: Option<String>,
    /// Write it to a file with mode 0600; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "merge"], value_parser = path())]
    write: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = &self.cluster.name;
        let path = Cluster::find_kubeconfig(&global.dir, name)?;
        if let Some(file) = self.merge {
            let user = self.user.as_deref().map(find_user).transpose()?;
            let default = || match &user {
                Some(user) => default_path(None, Some(user.dir.clone().into())),
                None => default_path(variable("KUBECONFIG"), variable("HOME")),
            };
            let file = file.map_or_else(default, Ok)?;
            let merged = merge(&global.dir, name, &file, user.map(|user| user.uid.as_raw()))?;
            return output::report(global.output, &merged, text);
        }
        if self.path {
            return output::write(format!("{}\n", path.display()).as_bytes()).map(drop);
        }
        let content = std::fs::read(&path).with_context(|| format!("could not read `{}`", path.display()))?;
        match self.write {
            Some(file) if file != Path::new("-") => Ok(write(&file, &content)?),
            _ => output::write(&content).map(drop),
        }
    }
}

fn find_user(name: &str) -> anyhow::Result<User> {
    let found = User::from_name(name).with_context(|| format!("could not look up the user `{name}`"))?;
    found.with_context(|| format!("there is no user `{name}` on this host"))
}

/// An environment variable; empty counts as unset.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(merged: &Merged) -> String {
    let Merged {
        file,
        context,
        current,
    } = merged;
    let command = match current {
        true => "kubectl get nodes".to_owned(),
        false => format!("kubectl --context {context} get nodes"),
    };
    format!(
        "added context `{context}` to `{}`; next: `{command}`\n",
        file.display()
    )
}
