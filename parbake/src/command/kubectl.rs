//! `parbake kubectl`

use std::process::ExitCode;

use parbake_up::Cluster;

use crate::args::{ClusterArgs, GlobalArgs};

const EXAMPLES: &str = "\
Examples:
  parbake kubectl get pods -A
  parbake kubectl --name ci apply -f app.yaml

parbake's options come before the first argument of kubectl. The exit code is that of kubectl.";

/// Run the cluster's kubectl as cluster administrator
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// kubectl's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let cluster = Cluster::find(&global.dir, &self.cluster.name)?;
        let kubectl = cluster.kubectl(&global.dir, &self.arguments)?;
        Ok(super::exit_code(kubectl.run_in_foreground()?))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Args;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[arg(short, long)]
        verbose: bool,
    }

    #[test]
    fn arguments_from_the_first_word_on_belong_to_kubectl() {
        let words = ["exec", "-v", "pod/x", "--name", "y", "--", "cat", "--help"];
        let line = Line::try_parse_from(["kubectl", "--name", "ci"].iter().chain(&words)).unwrap();
        assert_eq!(
            (line.args.arguments, line.args.cluster.name.as_str(), line.verbose),
            (words.map(str::to_owned).to_vec(), "ci", false)
        );
        let line = Line::try_parse_from(["kubectl", "--server=x", "get"]).unwrap();
        assert_eq!(line.args.arguments, ["--server=x", "get"]);
    }
}
