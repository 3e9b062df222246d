//! `parbake pin`

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use parbake_artifact::pin::{self, FILE};
use parbake_artifact::registry::{Options, resolve};
use parbake_artifact::{Digest, Pin, Reference, Store, Tag};
use serde::Serialize;

use crate::args::{ArtifactName, GlobalArgs, RegistryArgs};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake pin registry.example.org/clusters/k8s-1.34      the current digest of tag `latest`
  parbake pin registry.example.org/clusters/k8s-1.34:v5   the current digest of another tag
  parbake pin k8s-1.34                                    an artifact that was pulled, offline
  parbake pin --update                                    the current digest of the pinned tag
  parbake up                                              start the pinned artifact

The pin is kept in `parbake.toml` in the current directory, or the nearest parent that has one:
  artifact = \"registry.example.org/clusters/k8s-1.34:latest@sha256:...\"
  plain-http = true   # only for a registry without TLS";

/// Pin the artifact of a project in its parbake.toml
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(crate) struct Args {
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST], or the name in the store of an artifact that was pulled
    #[arg(group = "target")]
    artifact: Option<ArtifactName>,
    /// Pin the current digest of the pinned tag
    #[arg(long, group = "target")]
    update: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    artifact: Reference,
    /// The previous pin.
    before: Option<Reference>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let dir = env::current_dir().context("could not find the current directory")?;
        let mut options: Options = self.registry.into();
        let artifact = match self.artifact {
            Some(ArtifactName::Remote(reference)) => pin_remote(&reference, &options)?,
            Some(ArtifactName::Stored(tag)) => pin_stored(global, &tag)?,
            None => {
                let Some(pin) = Pin::find(&dir)? else {
                    bail!(
                        "there is no `{FILE}` in `{}` or a directory above it\n\
                         `parbake pin REFERENCE` creates one",
                        dir.display()
                    );
                };
                options.plain_http |= pin.plain_http;
                update(&pin, &options)?
            }
        };
        let (before, now) = pin::write(&dir, &artifact, options.plain_http)?;
        let report = Report {
            path: now.path,
            artifact: now.artifact,
            before: before.map(|pin| pin.artifact),
        };
        output::report(global.output, &report, text)
    }
}

fn digest_of(reference: &Reference, options: &Options) -> anyhow::Result<Digest> {
    Ok(super::block_on(resolve(reference, options))??)
}

fn pin_remote(reference: &Reference, options: &Options) -> anyhow::Result<Reference> {
    Ok(reference.at(&digest_of(reference, options)?))
}

/// The current digest of the pin's tag. A pin without a tag stands for `latest`, and stays without one.
fn update(pin: &Pin, options: &Options) -> anyhow::Result<Reference> {
    Ok(pin.artifact.at(&digest_of(&pin.artifact.unpinned(), options)?))
}

fn pin_stored(global: &GlobalArgs, tag: &Tag) -> anyhow::Result<Reference> {
    let artifact = Store::open(&global.store())?.get(tag)?;
    match artifact.origin {
        Some(origin) => Ok(origin.at(&artifact.digest)),
        None => bail!(
            "`{tag}` was made on this host, but a pin needs a registry that others can reach\n\
             run `parbake publish {tag} REFERENCE`, then `parbake pin REFERENCE`"
        ),
    }
}

fn text(report: &Report) -> String {
    let (path, artifact) = (report.path.display(), &report.artifact);
    match &report.before {
        Some(before) if before == artifact => format!("`{path}` already pins {artifact}\n"),
        Some(before) => format!("`{path}` pins\n   {before}\n-> {artifact}\n"),
        None => format!("`{path}` pins {artifact}\n"),
    }
}
