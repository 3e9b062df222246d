//! `parbake pull`

use std::sync::Arc;

use parbake_artifact::registry::{Pulled, pull};
use parbake_artifact::{Reference, Store, Tag};
use serde::Serialize;

use crate::args::{DeltaArgs, GlobalArgs, RegistryArgs};
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake pull registry.example.org/clusters/k8s-1.34               as `k8s-1.34`
  parbake pull registry.example.org/clusters/k8s-1.34:v5            as `k8s-1.34-v5`
  parbake pull registry.example.org/clusters/k8s-1.34 --tag k8s     as `k8s`
  parbake pull 127.0.0.1:5000/k8s-1.34 --plain-http                 from a registry without TLS

Only missing layers are downloaded, as deltas where the registry has them (`parbake publish
--delta-from`), and everything is verified. Interrupted downloads resume. See `parbake publish
--help` for credentials. Mirrors in /etc/containers/registries.conf (or
$CONTAINERS_REGISTRIES_CONF) are tried first, as Podman and Skopeo do.";

/// Pull an artifact from a registry into the store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: Reference,
    /// Name in the store, which is taken from another artifact if necessary [default: the last part
    /// of the repository, with `-TAG` unless the tag is latest]
    #[arg(long)]
    tag: Option<Tag>,
    #[command(flatten)]
    deltas: DeltaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    reference: Reference,
    digest: String,
    nodes: usize,
    moved_bytes: u64,
    skipped_bytes: u64,
    /// The part of `moved_bytes` that were deltas.
    delta_bytes: u64,
    /// Size of the layers that were made from deltas.
    made_bytes: u64,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let store = Arc::new(Store::open(&global.store())?);
        let options = self.registry.pull(global, self.deltas.enabled())?;
        let pulled = super::block_on(pull(&store, &self.reference, self.tag.as_ref(), &options))??;
        crate::args::resolve_artifact::record(global, &pulled, &self.reference);
        output::report(global.output, &report(self.reference, pulled), text)
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
        "pulled `{tag}`: {nodes}, {digest}, {moved} downloaded{deltas}, {skipped} already there\nstart it with `parbake up {tag}`\n",
        tag = report.tag,
        nodes = count(report.nodes, "node"),
        digest = report.digest,
        moved = size(report.moved_bytes),
        skipped = size(report.skipped_bytes),
    )
}
