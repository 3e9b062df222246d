//! `parbake freeze`

use parbake_artifact::Tag;
use parbake_cluster::api::unfinished::Unfinished;
use parbake_up::{ClusterName, ExcludedFile, FreezeOptions, FreezeReport, freeze};
use serde::Serialize;

use super::supervise;
use crate::args::{ClusterArgs, GlobalArgs};
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake freeze with-my-app                 cluster `default` with everything deployed in it
  parbake freeze with-my-app --name ci       another cluster
  parbake freeze with-my-app --force         replace an existing artifact
  parbake up with-my-app --name copy         start a copy next to the original
  parbake publish with-my-app REFERENCE      publish it for other hosts

The cluster keeps running. It is paused only while its files are copied, usually for well under a
second. Changes in progress, such as rollouts, are frozen as they are, and listed.

The artifact contains all API objects, including secrets, images that were loaded or pushed to the
cluster's registry, and the nodes' files, including hostPath and local volumes. It does not contain
credentials of the cluster, events, logs, /tmp, and the writable layers and emptyDir volumes of
containers: pods restart as after a reboot of their node. Files are as a power failure would leave
them.";

/// Freeze a running cluster into an artifact; the cluster keeps running
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store
    tag: Tag,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Replace an artifact with this name
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    digest: String,
    name: ClusterName,
    nodes: usize,
    /// Bytes of all layers, compressed.
    size: u64,
    /// Bytes of the layers that the cluster's own artifact does not have.
    own_size: u64,
    paused_milliseconds: u64,
    /// Users' secrets in the artifact.
    secrets: u64,
    in_flight: Vec<Unfinished>,
    /// Files that contained a credential of the cluster.
    left_out: Vec<ExcludedFile>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = self.cluster.name;
        let frozen = super::block_on(freeze(&FreezeOptions {
            tag: self.tag,
            name: name.clone(),
            force: self.force,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        }))??;
        for Unfinished { kind, name, state } in &frozen.in_flight {
            tracing::warn!("in progress: {kind} `{name}`: {state}");
        }
        for ExcludedFile { node, path } in &frozen.left_out {
            let path = path.display();
            tracing::warn!("excluded `{path}` on {node}: it contains a credential of the cluster");
        }
        output::report(global.output, &report(name, frozen), text)
    }
}

fn report(name: ClusterName, frozen: FreezeReport) -> Report {
    Report {
        digest: frozen.artifact.digest.to_string(),
        name,
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
        "froze cluster `{name}` as `{tag}`: {}, {} of which {} are new, {}\n\
         paused for {} ms, with {} in progress; {} in the artifact\n\
         start it with `parbake up {tag}`\n",
        count(report.nodes, "node"),
        size(report.size),
        size(report.own_size),
        report.digest,
        report.paused_milliseconds,
        count(report.in_flight.len(), "change"),
        count(usize::try_from(report.secrets).unwrap_or(usize::MAX), "secret"),
    )
}
