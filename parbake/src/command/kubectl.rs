//! `parbake kubectl`

use std::process::ExitCode;

use parbake_up::Cluster;

use crate::cli::Global;

const MORE: &str = "\
Examples:
  parbake kubectl get pods -A
  parbake kubectl --name ci apply -f app.yaml

parbake's own options come before kubectl's first word: all that follows is kubectl's.
Ends with kubectl's own exit code.";

/// Run the cluster's own kubectl, as its administrator
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Args;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[arg(long)]
        name: Option<String>,
        #[arg(short, long)]
        verbose: bool,
    }

    #[test]
    fn everything_from_the_first_word_on_is_for_kubectl() {
        let words = ["exec", "-v", "pod/x", "--name", "y", "--", "cat", "--help"];
        let line = Line::try_parse_from(["kubectl", "--name", "ci"].iter().chain(&words)).unwrap();
        assert_eq!(
            (line.args.words, line.name.as_deref(), line.verbose),
            (words.map(str::to_owned).to_vec(), Some("ci"), false)
        );
        let line = Line::try_parse_from(["kubectl", "--server=x", "get"]).unwrap();
        assert_eq!(line.args.words, ["--server=x", "get"]);
    }
}
