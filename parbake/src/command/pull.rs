//! `parbake pull`

use std::sync::Arc;

use parbake_artifact::registry::{Options, Pulled, pull};
use parbake_artifact::{Policy, Reference, Store, Tag};
use serde::Serialize;

use super::registry::{DeltaArgs, RegistryArgs};
use crate::cli::Global;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake pull registry.example.org/clusters/k8s-1.34               called k8s-1.34 here
  parbake pull registry.example.org/clusters/k8s-1.34:v5            called k8s-1.34-v5 here
  parbake pull registry.example.org/clusters/k8s-1.34 --tag k8s     called k8s here
  parbake pull 127.0.0.1:5000/k8s-1.34 --plain-http                 from a registry without TLS

Only what is missing is fetched, and all of it is checked. Where the registry has deltas from layers
that are here (`parbake publish --delta-from`), layers are made out of those. Call it again after it
was interrupted: it goes on where it was. See `parbake publish --help` for credentials. Mirrors are
tried first, as /etc/containers/registries.conf (or $CONTAINERS_REGISTRIES_CONF) has them for Podman
and Skopeo.";

/// Pull an artifact from a registry into the store; clusters start from there, offline
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where from: REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: Reference,
    /// What the artifact is called in the store, whatever had the name [default: the last part of
    /// the repository, and `-TAG` unless that is latest]
    #[arg(long)]
    tag: Option<Tag>,
    #[command(flatten)]
    deltas: DeltaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    reference: Reference,
    digest: String,
    nodes: usize,
    moved_bytes: u64,
    skipped_bytes: u64,
    /// Of what was moved: deltas that layers were made of.
    delta_bytes: u64,
    /// What these layers would have moved.
    made_bytes: u64,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let store = Arc::new(Store::open(&global.store())?);
        let options = Options {
            policy: Policy::load(&global.dir)?,
            deltas: self.deltas.wanted(),
            ..self.registry.into()
        };
        let pulled = super::block_on(pull(&store, &self.reference, self.tag.as_ref(), &options))??;
        super::named::told(global, &pulled, &self.reference);
        output::print(global.output, &report(self.reference, pulled), text)
    }
}

fn report(reference: Reference, pulled: Pulled) -> Report {
    Report {
        reference,
        digest: pulled.artifact.digest.to_string(),
        nodes: pulled.artifact.config.machines.len(),
        tag: pulled.artifact.tag,
        moved_bytes: pulled.stats.transferred,
        skipped_bytes: pulled.stats.skipped,
        delta_bytes: pulled.stats.delta_bytes,
        made_bytes: pulled.stats.rebuilt,
    }
}

fn text(report: &Report) -> String {
    let deltas = match report.delta_bytes {
        0 => String::new(),
        bytes => format!(
            " ({} of deltas instead of {})",
            size(bytes),
            size(report.made_bytes)
        ),
    };
    format!(
        "`{tag}` is here: {nodes}, {digest}, {moved} moved{deltas}, {skipped} were there\nstart it with `parbake up {tag}`\n",
        tag = report.tag,
        nodes = count(report.nodes, "node"),
        digest = report.digest,
        moved = size(report.moved_bytes),
        skipped = size(report.skipped_bytes),
    )
}
