//! `parbake publish`

use std::sync::Arc;

use parbake_artifact::registry::{Published, publish};
use parbake_artifact::{Reference, Store, Tag};
use serde::Serialize;

use super::registry::RegistryArgs;
use crate::cli::Global;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34        as its tag `latest`
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34:v5     as another tag
  parbake publish k8s-1.34 127.0.0.1:5000/k8s-1.34 --plain-http          to a registry without TLS

What the repository has is not sent again, nor what the artifact was pulled with from another
repository of the same registry. The tag changes at the very end.
Credentials come from where Docker and Podman keep them: $REGISTRY_AUTH_FILE,
$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json or ~/.docker/config.json,
and the helpers that these name. `skopeo login` and `docker login` write them.";

/// Publish an artifact to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// Where to: REGISTRY/REPOSITORY[:TAG]
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    reference: Reference,
    digest: String,
    /// The reference that will always mean this artifact.
    pinned: Reference,
    moved_bytes: u64,
    skipped_bytes: u64,
    /// Whether the registry had all of it, under the same tag.
    unchanged: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let store = Arc::new(Store::open(&global.store())?);
        if let Some(secrets @ 1..) = store.get(&self.artifact)?.secrets {
            let number = count(usize::try_from(secrets).unwrap_or(usize::MAX), "secret");
            tracing::warn!(
                "`{}` holds {number} of its users, which everybody who pulls it can read",
                self.artifact
            );
        }
        let options = self.registry.into();
        let published = super::block_on(publish(&store, &self.artifact, &self.reference, &options))??;
        let report = report(self.artifact, self.reference, published);
        output::print(global.output, &report, text)
    }
}

fn report(tag: Tag, reference: Reference, published: Published) -> Report {
    Report {
        pinned: reference.pinned(&published.digest),
        tag,
        reference,
        digest: published.digest.to_string(),
        moved_bytes: published.amount.moved,
        skipped_bytes: published.amount.skipped,
        unchanged: published.unchanged,
    }
}

fn text(report: &Report) -> String {
    let verb = if report.unchanged {
        "was published before"
    } else {
        "is published"
    };
    format!(
        "`{}` {verb} as {}: {} moved, {} were there\npin it as {}\n",
        report.tag,
        report.reference,
        size(report.moved_bytes),
        size(report.skipped_bytes),
        report.pinned,
    )
}
