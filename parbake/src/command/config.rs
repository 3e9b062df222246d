//! `parbake config`

use std::path::PathBuf;

use parbake_up::Cluster;
use parbake_up::config::{ConfigFile, schema, to_toml};

use super::configuration::ConfigArgs;
use crate::cli::Global;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake config show --name ci                     what the cluster `ci` was made with
  parbake config show cluster.toml --memory 4GiB    what this file and this flag come to

A file is checked as far as that can be done without a cluster. docs/configuration.md explains it.";

const SCHEMA: &str = "\
Examples:
  parbake config schema > cluster.schema.json
  sed -i '1i #:schema ./cluster.schema.json' cluster.toml";

/// Look at what clusters are configured to be
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Show(Box<ShowArgs>),
    Schema(SchemaArgs),
}

/// Print the effective configuration of a cluster, or of a file and flags
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// A cluster.toml [default: that of the cluster]
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigArgs,
}

/// Print the JSON schema of cluster.toml
#[derive(Debug, clap::Args)]
#[command(after_help = SCHEMA)]
pub(crate) struct SchemaArgs {}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Show(args) => args.run(global),
            Self::Schema(SchemaArgs {}) => {
                output::raw((serde_json::to_string_pretty(&schema())? + "\n").as_bytes())
            }
        }
    }
}

impl ShowArgs {
    fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut wanted = self.flags.wanted()?;
        if let Some(file) = self.file {
            wanted.file = Some(ConfigFile::read(&file)?);
        }
        let config = if wanted.is_empty() {
            Cluster::find_config(&global.dir, &global.name)?
        } else {
            wanted.preview()?
        };
        let text = to_toml(&config)?;
        output::print(global.output, &config, |_| text)
    }
}
