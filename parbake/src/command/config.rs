//! `parbake config`

use std::path::PathBuf;

use parbake_up::Cluster;
use parbake_up::config::{ConfigFile, schema, to_toml};

use crate::args::{ClusterArgs, ClusterConfigArgs, GlobalArgs, path};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake config show --name ci                     the configuration of cluster `ci`
  parbake config show cluster.toml --memory 4GiB    a file with a flag applied

A file is validated as far as possible without a cluster. See docs/configuration.md.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  parbake config schema > cluster.schema.json
  sed -i '1i #:schema ./cluster.schema.json' cluster.toml";

/// Show the configuration of a cluster, and its schema
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Show(Box<ShowArgs>),
    Schema(SchemaArgs),
}

/// Print the configuration of a cluster, or of a file and flags
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// A configuration file [default: that of the cluster]
    #[arg(conflicts_with = "config", value_parser = path())]
    file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    flags: ClusterConfigArgs,
}

/// Print the JSON schema of configuration files
#[derive(Debug, clap::Args)]
#[command(after_help = SCHEMA_EXAMPLES)]
pub(crate) struct SchemaArgs {}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        match self {
            Self::Show(args) => args.run(global),
            Self::Schema(SchemaArgs {}) => {
                let schema = serde_json::to_string_pretty(&schema())? + "\n";
                output::write(schema.as_bytes()).map(drop)
            }
        }
    }
}

impl ShowArgs {
    fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let mut request = self.flags.request()?;
        if let Some(file) = self.file {
            request.file = Some(ConfigFile::read(&file)?);
        }
        let config = if request.is_empty() {
            Cluster::find_config(&global.dir, &self.cluster.name)?
        } else {
            request.preview()?
        };
        let text = to_toml(&config)?;
        output::print(global.output, &config, |_| text)
    }
}
