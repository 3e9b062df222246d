//! What all commands that speak to a registry have in common.

use std::path::PathBuf;

use parbake_artifact::registry::Options;

/// How to speak to the registry.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Speak HTTP without TLS to the registry
    #[arg(long)]
    plain_http: bool,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// How layers may come.
#[derive(Debug, clap::Args)]
pub(crate) struct DeltaArgs {
    /// Fetch every layer that is missing in full, even if the registry has a delta from one that is here
    #[arg(long)]
    no_deltas: bool,
}

impl DeltaArgs {
    pub(crate) fn wanted(&self) -> bool {
        !self.no_deltas
    }
}

impl From<RegistryArgs> for Options {
    fn from(args: RegistryArgs) -> Self {
        Self {
            plain_http: args.plain_http,
            ca_file: args.ca_file,
            ..Self::default()
        }
    }
}
