//! `parbake pin`

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use parbake_artifact::pin::{self, FILE};
use parbake_artifact::registry::{Options, resolve};
use parbake_artifact::{Digest, Pin, Reference, Store, Tag};
use serde::Serialize;

use super::named::Named;
use super::registry::RegistryArgs;
use crate::cli::Global;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake pin registry.example.org/clusters/k8s-1.34      what its tag `latest` means now
  parbake pin registry.example.org/clusters/k8s-1.34:v5   what another tag means now
  parbake pin k8s-1.34                                    what was pulled as this, offline
  parbake pin --update                                    what the tag that is pinned means now
  parbake up                                              start it; offline, once it was pulled

The pin is in `parbake.toml`, in the current directory or the nearest one above it that has one:
  artifact = \"registry.example.org/clusters/k8s-1.34:latest@sha256:...\"
  plain-http = true   # only for a registry without TLS";

/// Pin the artifact that a project uses, in its parbake.toml; `parbake up` starts it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Args {
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST], or the name in the store of what was pulled from there
    #[arg(group = "what")]
    artifact: Option<Named>,
    /// Ask the registry what the tag that is pinned means now
    #[arg(long, group = "what")]
    update: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    artifact: Reference,
    /// What was pinned before, if anything was.
    before: Option<Reference>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let dir = env::current_dir().context("could not find the current directory")?;
        let mut options: Options = self.registry.into();
        let artifact = match self.artifact {
            Some(Named::There(reference)) => pinned_there(&reference, &options)?,
            Some(Named::Here(tag)) => pinned_here(global, &tag)?,
            None => {
                let Some(pin) = Pin::find(&dir)? else {
                    bail!(
                        "there is no `{FILE}` in `{}` or above it; `parbake pin REFERENCE` makes one",
                        dir.display()
                    );
                };
                options.plain_http |= pin.plain_http;
                updated(&pin, &options)?
            }
        };
        let (before, now) = pin::write(&dir, &artifact, options.plain_http)?;
        let report = Report {
            path: now.path,
            artifact: now.artifact,
            before: before.map(|pin| pin.artifact),
        };
        output::print(global.output, &report, text)
    }
}

fn digest_of(reference: &Reference, options: &Options) -> anyhow::Result<Digest> {
    Ok(super::block_on(resolve(reference, options))??)
}

fn pinned_there(reference: &Reference, options: &Options) -> anyhow::Result<Reference> {
    Ok(reference.at(&digest_of(reference, options)?))
}

/// What the tag means now; a pin without a tag goes by `latest`, and stays without one.
fn updated(pin: &Pin, options: &Options) -> anyhow::Result<Reference> {
    Ok(pin.artifact.at(&digest_of(&pin.artifact.unpinned(), options)?))
}

fn pinned_here(global: &Global, tag: &Tag) -> anyhow::Result<Reference> {
    let artifact = Store::open(&global.store())?.get(tag)?;
    match artifact.origin {
        Some(origin) => Ok(origin.at(&artifact.digest)),
        None => bail!(
            "`{tag}` was made here, and a pin names a registry, where everybody finds it; \
             `parbake publish {tag} REFERENCE`, then `parbake pin REFERENCE`"
        ),
    }
}

fn text(report: &Report) -> String {
    let (path, artifact) = (report.path.display(), &report.artifact);
    match &report.before {
        Some(before) if before == artifact => format!("`{path}` pins {artifact}, as before\n"),
        Some(before) => format!("`{path}` pins\n   {before}\n-> {artifact}\n"),
        None => format!("`{path}` pins {artifact}\n"),
    }
}
