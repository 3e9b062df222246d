//! `parbake publish`

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use parbake_artifact::registry::{PublishOptions, Published, PublishedDeltas, publish_with};
use parbake_artifact::{PrivateKey, Reference, Store, Tag};
use parbake_up::events::{EventKind, Log};
use serde::Serialize;

use super::registry::RegistryArgs;
use crate::cli::Global;
use crate::output::{self, count, size};

/// The variable that cosign takes a key's password from.
const PASSWORD: &str = "COSIGN_PASSWORD";
const EXAMPLES: &str = "\
Examples:
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34        as its tag `latest`
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34:v5     as another tag
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34:v5 --latest     as `latest` too
  parbake publish k8s-1.34 127.0.0.1:5000/k8s-1.34 --plain-http          to a registry without TLS
  parbake publish k8s-1.34 registry.example.org/k8s-1.34 --sign k8s.key  signed as cosign signs
  parbake publish k8s-1.34 registry.example.org/k8s-1.34 --delta-from k8s-1.34.3
                                            with what makes it out of the release before

What the repository has is not sent again, nor what the artifact was pulled with from another
repository of the same registry. The tag changes at the very end. With `--delta-from` whoever has
that artifact, or layers of it, moves only what changed within each layer.
Credentials come from where Docker and Podman keep them: $REGISTRY_AUTH_FILE,
$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json or ~/.docker/config.json,
and the helpers that these name. `skopeo login` and `docker login` write them.

Keys are those of `cosign generate-key-pair`, whose password is taken from $COSIGN_PASSWORD, or of
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k8s.key
  openssl pkey -in k8s.key -pubout -out k8s.pub
`cosign verify --key k8s.pub --insecure-ignore-tlog` checks them too.";

/// Publish an artifact to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// Where to: REGISTRY/REPOSITORY[:TAG]
    reference: Reference,
    /// Sign it with the private key in this PEM file
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Make deltas from this artifact in the store, too, for those who have it; may be given more than
    /// once
    #[arg(long, value_name = "ARTIFACT")]
    delta_from: Vec<Tag>,
    /// Move the tag `latest` of the repository there too, last of all
    #[arg(long)]
    latest: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    reference: Reference,
    /// The other tag that was moved, if it was asked for.
    latest: Option<Reference>,
    digest: String,
    /// The reference that will always mean this artifact.
    pinned: Reference,
    moved_bytes: u64,
    skipped_bytes: u64,
    /// What was made with `--delta-from`, or was there already.
    deltas: Vec<Deltas>,
    /// The private key that signed it.
    signed_with: Option<PathBuf>,
    /// Whether the registry had all of it, under the same tag.
    unchanged: bool,
}

/// Deltas from one older artifact.
#[derive(Debug, Serialize)]
struct Deltas {
    from: Tag,
    layers: usize,
    bytes: u64,
    /// The layers in full; `null` when the deltas were there before.
    layer_bytes: Option<u64>,
}

impl From<PublishedDeltas> for Deltas {
    fn from(deltas: PublishedDeltas) -> Self {
        let PublishedDeltas {
            from,
            layers,
            layer_bytes,
            bytes,
        } = deltas;
        Self {
            from,
            layers,
            bytes,
            layer_bytes,
        }
    }
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
        let key = match &self.sign {
            Some(path) => Some(PrivateKey::load(path, password()?.as_deref())?),
            None => None,
        };
        let extras = PublishOptions {
            key: key.as_ref(),
            delta_from: &self.delta_from,
        };
        let publish = |to, extras| publish_with(&store, &self.artifact, to, &options, extras);
        let published = super::block_on(publish(&self.reference, extras))??;
        if !published.unchanged {
            Log::new(&global.dir).record(EventKind::Published {
                artifact: self.artifact.clone(),
                reference: self.reference.to_string(),
            });
        }
        let latest = self.latest.then(|| self.reference.latest());
        if let Some(latest) = &latest {
            // All of it is there by now.
            let extras = PublishOptions {
                delta_from: &[],
                ..extras
            };
            super::block_on(publish(latest, extras))??;
        }
        let mut report = report(self.artifact, self.reference, published, self.sign);
        report.latest = latest;
        output::print(global.output, &report, text)
    }
}

/// What opens an encrypted key, from where cosign has it.
fn password() -> anyhow::Result<Option<String>> {
    match env::var(PASSWORD) {
        Err(env::VarError::NotPresent) => Ok(None),
        password => password
            .map(Some)
            .with_context(|| format!("cannot use the password in {PASSWORD}")),
    }
}

fn report(tag: Tag, reference: Reference, published: Published, signed_with: Option<PathBuf>) -> Report {
    Report {
        pinned: reference.pinned(&published.digest),
        tag,
        reference,
        latest: None,
        digest: published.digest.to_string(),
        moved_bytes: published.stats.transferred,
        skipped_bytes: published.stats.skipped,
        deltas: published.deltas.into_iter().map(Deltas::from).collect(),
        unchanged: published.unchanged,
        signed_with,
    }
}

fn text(report: &Report) -> String {
    let verb = if report.unchanged {
        "was published before"
    } else {
        "is published"
    };
    let latest = report.latest.as_ref().map(|latest| format!(" and {latest}"));
    let signed = report.signed_with.as_ref();
    let signed = signed
        .map(|key| format!("signed with {}\n", key.display()))
        .unwrap_or_default();
    let deltas: String = report.deltas.iter().map(delta_text).collect();
    format!(
        "`{}` {verb} as {}{}: {} moved, {} were there\n{deltas}{signed}pin it as {}\n",
        report.tag,
        report.reference,
        latest.unwrap_or_default(),
        size(report.moved_bytes),
        size(report.skipped_bytes),
        report.pinned,
    )
}

fn delta_text(deltas: &Deltas) -> String {
    let (from, layers, bytes) = (&deltas.from, count(deltas.layers, "layer"), size(deltas.bytes));
    match deltas.layer_bytes {
        Some(0) => format!("no layer has a delta from `{from}` that would spare anything\n"),
        Some(full) => format!(
            "{layers} with deltas from `{from}`: {bytes} instead of {}\n",
            size(full)
        ),
        None => format!("{layers} had deltas from `{from}` already: {bytes}\n"),
    }
}
