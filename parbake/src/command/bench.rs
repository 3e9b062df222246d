//! `parbake bench`

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use parbake_artifact::{Reference, Tag};
use parbake_bench::{Context, Report, Rival, provision, pull, up};
use parbake_provision::inputs::Source;
use parbake_provision::provider::Provider;

use super::provision::source;
use super::supervise;
use crate::args::{CacheArgs, GlobalArgs, ProvidersArgs, RegistryArgs, node_count, path};
use crate::output;

const UP_EXAMPLES: &str = "\
Examples:
  parbake bench up k8s-1.34                                     all baked nodes, ten times
  parbake bench up k8s-1.34 --nodes 1,3 --against init,floor    compared, in turn
  parbake bench up k8s-1.34-8 --grow --report figures           1 to 8 nodes, 1 to 4 clusters

`init` is kubeadm with its default settings on machines with the same layers. `floor` is the lower
bound: etcd and the API server alone on the same data.";

const PROVISION_EXAMPLES: &str = "\
Example:
  parbake bench provision k8s-1.34 --runs 5 --report figures

Inputs are prepared first, which is not measured. Each run bakes into an empty store, bakes again
with nothing changed, with a manifest added, and with another kubelet file.";

const PULL_EXAMPLES: &str = "\
Example:
  parbake bench pull 127.0.0.1:5000/clusters/k8s-1.34 --plain-http

Each run pulls into an empty store and starts the cluster. The floor is the lower bound of a pull:
receive every blob and discard it, decompress all layers on all CPUs, and write as many files and
bytes as the store keeps.";

/// Measure how fast parbake is on this host
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Up(UpArgs),
    Provision(ProvisionArgs),
    Pull(PullArgs),
}

/// Start a cluster several times, and report times and cost
#[derive(Debug, clap::Args)]
#[command(after_help = UP_EXAMPLES)]
pub(crate) struct UpArgs {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// Run only the first N baked nodes; several numbers in turn [default: all]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = node_count())]
    nodes: Vec<usize>,
    /// Compare with these, in turn
    #[arg(long, value_name = "RIVAL", value_delimiter = ',', value_parser = rival())]
    against: Vec<Rival>,
    /// Measure 1, 2, 4 and 8 nodes, as far as they were baked, and 1, 2 and 4 clusters at once
    #[arg(long, conflicts_with = "nodes")]
    grow: bool,
    /// How often to start it
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = runs())]
    runs: u16,
    /// Write report.md, report.json and plot.svg to a directory
    #[arg(long, value_name = "DIR", value_parser = path())]
    report: Option<PathBuf>,
}

/// Bake several times: from nothing, unchanged, with a manifest added, with a component changed
#[derive(Debug, clap::Args)]
#[command(after_help = PROVISION_EXAMPLES)]
pub(crate) struct ProvisionArgs {
    /// The provider, such as k8s-1.34
    provider: String,
    /// Where binaries and images come from: auto, release, modules or a directory
    #[arg(long, default_value = "auto", value_parser = source)]
    source: Source,
    /// How many nodes to bake [default: those the provider lists]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// How often to bake
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = runs())]
    runs: u16,
    /// Write provision.md and provision.json to a directory
    #[arg(long, value_name = "DIR", value_parser = path())]
    report: Option<PathBuf>,
    #[command(flatten)]
    providers: ProvidersArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Pull into an empty store and start the cluster, compared with the lower bound of a pull
#[derive(Debug, clap::Args)]
#[command(after_help = PULL_EXAMPLES)]
pub(crate) struct PullArgs {
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: Reference,
    /// Start only the first N baked nodes [default: all]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// How often to pull
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = runs())]
    runs: u16,
    /// Write pull.md and pull.json to a directory
    #[arg(long, value_name = "DIR", value_parser = path())]
    report: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn runs() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..)
}

fn rival() -> impl TypedValueParser<Value = Rival> {
    PossibleValuesParser::new(Rival::NAMES).try_map(|name| name.parse())
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let context = Context {
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        };
        match self {
            Self::Up(args) => {
                let options = up::Options {
                    artifact: args.artifact,
                    nodes: args.nodes,
                    runs: args.runs,
                    against: args.against,
                    grow: args.grow,
                };
                finish(global, args.report, &up::run(&context, &options)?)
            }
            Self::Provision(args) => {
                let options = provision::Options {
                    provider: Provider::find(&args.provider, &args.providers.dir())?,
                    source: args.source,
                    nodes: args.nodes,
                    runs: args.runs,
                    cache: args.cache.dir(global),
                };
                finish(global, args.report, &provision::run(&context, &options)?)
            }
            Self::Pull(args) => {
                let options = pull::Options {
                    reference: args.reference,
                    registry: args.registry.pull(global, true)?,
                    nodes: args.nodes,
                    runs: args.runs,
                };
                finish(global, args.report, &pull::run(&context, &options)?)
            }
        }
    }
}

fn finish(global: &GlobalArgs, dir: Option<PathBuf>, report: &impl Report) -> anyhow::Result<()> {
    if let Some(dir) = dir {
        parbake_bench::write(&dir, report)?;
    }
    output::print(global.output, report, Report::text)
}
