//! `parbake publish`

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use parbake_artifact::registry::{PublishOptions, Published, PublishedDeltas, publish_with};
use parbake_artifact::{PrivateKey, Reference, Store, Tag};
use parbake_up::events::{EventKind, Log};
use serde::Serialize;

use crate::args::{GlobalArgs, RegistryArgs, path};
use crate::output::{self, count, size};

/// The variable with a key's password, as for cosign. It may be empty: cosign encrypts with an empty password.
const PASSWORD: &str = "COSIGN_PASSWORD";
const EXAMPLES: &str = "\
Examples:
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34        as its tag `latest`
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34:v5     as another tag
  parbake publish k8s-1.34 registry.example.org/clusters/k8s-1.34:v5 --latest     as both
  parbake publish k8s-1.34 127.0.0.1:5000/k8s-1.34 --plain-http          to a registry without TLS
  parbake publish k8s-1.34 registry.example.org/k8s-1.34 --sign k8s.key  sign like cosign
  parbake publish k8s-1.34 registry.example.org/k8s-1.34 --delta-from k8s-1.34.3
                                            add deltas from the previous release

Blobs that the registry already has are not uploaded again. The tag is moved last. With
`--delta-from`, clients that have the older artifact download only what changed within each layer.

Credentials are read from where Docker and Podman keep them: $REGISTRY_AUTH_FILE,
$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json or ~/.docker/config.json, and
the credential helpers named there. `skopeo login` and `docker login` write them.

Keys are made with `cosign generate-key-pair` (password in $COSIGN_PASSWORD), or with
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k8s.key
  openssl pkey -in k8s.key -pubout -out k8s.pub
`cosign verify --key k8s.pub --insecure-ignore-tlog` verifies the signatures.";

/// Publish an artifact to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// The destination: REGISTRY/REPOSITORY[:TAG]
    reference: Reference,
    /// Sign with the private key in this PEM file
    #[arg(long, value_name = "KEY", value_parser = path())]
    sign: Option<PathBuf>,
    /// Add deltas from this older artifact in the store; repeatable
    #[arg(long, value_name = "ARTIFACT")]
    delta_from: Vec<Tag>,
    /// Also move the tag `latest` of the repository, last
    #[arg(long)]
    latest: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    reference: Reference,
    /// With `--latest`.
    latest: Option<Reference>,
    digest: String,
    /// The reference with the digest, which never changes its meaning.
    pinned: Reference,
    moved_bytes: u64,
    skipped_bytes: u64,
    deltas: Vec<Deltas>,
    /// The private key.
    signed_with: Option<PathBuf>,
    /// True if the registry already had all of it under this tag.
    unchanged: bool,
}

/// Deltas from one older artifact.
#[derive(Debug, Serialize)]
struct Deltas {
    from: Tag,
    layers: usize,
    bytes: u64,
    /// Size of the full layers; `null` if the registry already had the deltas.
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
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let store = Arc::new(Store::open(&global.store())?);
        if let Some(secrets @ 1..) = store.get(&self.artifact)?.secrets {
            let number = count(usize::try_from(secrets).unwrap_or(usize::MAX), "secret");
            tracing::warn!(
                "`{}` contains {number} of its users; everyone who can pull it can read them",
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
            // The blobs and deltas are uploaded by now.
            let extras = PublishOptions {
                delta_from: &[],
                ..extras
            };
            super::block_on(publish(latest, extras))??;
        }
        let mut report = report(self.artifact, self.reference, published, self.sign);
        report.latest = latest;
        output::report(global.output, &report, text)
    }
}

fn password() -> anyhow::Result<Option<String>> {
    match env::var(PASSWORD) {
        Err(env::VarError::NotPresent) => Ok(None),
        password => password
            .map(Some)
            .with_context(|| format!("could not use the password in {PASSWORD}")),
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
        "was already published"
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
        "`{}` {verb} as {}{}: {} uploaded, {} already there\n{deltas}{signed}pin it as {}\n",
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
        Some(0) => format!("no delta from `{from}` is smaller than its layer\n"),
        Some(full) => format!(
            "{layers} with deltas from `{from}`: {bytes} instead of {}\n",
            size(full)
        ),
        None => format!("{layers} had deltas from `{from}` already: {bytes}\n"),
    }
}
