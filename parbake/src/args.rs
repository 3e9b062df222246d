//! Arguments that several commands share.

mod cluster_config;
mod duration;
mod global;
mod new_cluster;
mod path;
mod registry;
pub(crate) mod resolve_artifact;

pub(crate) use cluster_config::ClusterConfigArgs;
pub(crate) use duration::{age, timeout};
pub(crate) use global::{CacheArgs, ClusterArgs, GlobalArgs, ProvidersArgs};
pub(crate) use new_cluster::{ArtifactName, NewClusterArgs};
pub(crate) use path::path;
pub(crate) use registry::{DeltaArgs, MirrorArgs, RegistryArgs};

use clap::builder::TypedValueParser;
use serde::Serialize;

use crate::output;

/// Parses a number of nodes, which is at least 1.
pub(crate) fn node_count() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16).range(1..).map(usize::from)
}

/// `--watch`
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct WatchArgs {
    /// Print it again whenever it changes, until interrupted; JSON in one line
    #[arg(short, long)]
    watch: bool,
}

impl WatchArgs {
    /// Prints what `read` returns, once or whenever it changes.
    pub(crate) fn print<T: Serialize>(
        self,
        global: &GlobalArgs,
        read: impl Fn() -> anyhow::Result<T>,
        text: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        match self.watch {
            true => output::watch(global.output, read, text),
            false => output::print(global.output, &read()?, text),
        }
    }
}
