//! `parbake freeze`

use parbake_artifact::Tag;
use parbake_cluster::in_flight::InFlight;
use parbake_up::{ClusterName, ExcludedFile, FreezeOptions, FreezeReport, freeze};
use serde::Serialize;

use super::supervise;
use crate::cli::Global;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake freeze with-my-app                 the cluster `default` with all that was deployed
  parbake freeze with-my-app --name ci       another one
  parbake freeze with-my-app --force         anew, in the place of the former artifact
  parbake up with-my-app --name copy         start it beside the first, here
  parbake publish with-my-app REF            ... or have it started elsewhere

The cluster goes on: it stands still only while its files are copied, well under a second unless
there are many. What was in flight stays as it was, and is listed.
In the artifact are all objects of the API, secrets too, images that were loaded or pushed to the
cluster's registry, and the nodes' files, hostPath and local volumes among them. Not in it are credentials of the cluster, events,
logs, what is in /tmp, and what containers wrote for themselves or into emptyDir volumes: pods
start anew, as after a restart of their node. Files are as a power cut would leave them.";

/// Freeze a running cluster with all in it into an artifact; it goes on
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What the artifact is called in the store
    tag: Tag,
    /// Take the name from an artifact that has it
    #[arg(long)]
    force: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    digest: String,
    /// The cluster that was frozen.
    name: ClusterName,
    nodes: usize,
    /// Bytes of all layers, compressed.
    size: u64,
    /// Bytes of the layers that the artifact that the cluster came from does not have.
    own_size: u64,
    /// For how long the cluster stood still.
    paused_milliseconds: u64,
    /// Secrets that stay, credentials of the cluster not among them.
    secrets: u64,
    in_flight: Vec<InFlight>,
    /// Files that held a credential of the cluster.
    left_out: Vec<ExcludedFile>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let frozen = super::block_on(freeze(&FreezeOptions {
            tag: self.tag,
            name: global.name.clone(),
            force: self.force,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        }))??;
        for InFlight { kind, name, state } in &frozen.in_flight {
            tracing::warn!("in flight: {kind} `{name}`: {state}");
        }
        for ExcludedFile { node, path } in &frozen.left_out {
            let path = path.display();
            tracing::warn!("left out `{path}` of {node}: it holds a credential of the cluster");
        }
        output::print(global.output, &report(global, frozen), text)
    }
}

fn report(global: &Global, frozen: FreezeReport) -> Report {
    Report {
        digest: frozen.artifact.digest.to_string(),
        name: global.name.clone(),
        nodes: frozen.artifact.config.machines.len(),
        size: frozen.artifact.size(),
        own_size: frozen.own_bytes,
        paused_milliseconds: u64::try_from(frozen.paused.as_millis()).unwrap_or(u64::MAX),
        secrets: frozen.artifact.secrets.unwrap_or_default(),
        in_flight: frozen.in_flight,
        left_out: frozen.left_out,
        tag: frozen.artifact.tag,
    }
}

fn text(report: &Report) -> String {
    let Report { name, tag, .. } = report;
    format!(
        "cluster `{name}` is frozen as `{tag}`: {}, {} of which {} are new, {}\n\
         it stood still for {} ms, with {} in flight; {} in the artifact\n\
         start it with `parbake up {tag}`\n",
        count(report.nodes, "node"),
        size(report.size),
        size(report.own_size),
        report.digest,
        report.paused_milliseconds,
        count(report.in_flight.len(), "thing"),
        count(usize::try_from(report.secrets).unwrap_or(usize::MAX), "secret"),
    )
}
