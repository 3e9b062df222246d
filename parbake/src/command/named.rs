//! The artifact that is meant: by name, by reference, or by the project's pin.

use std::env;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use parbake_artifact::registry::{Options, Pulled, pull};
use parbake_artifact::{Pin, Policy, Reference, Store, Tag};
use parbake_up::events::{EventKind, Log};

use super::registry::{DeltaArgs, RegistryArgs};
use crate::cli::Global;

/// An artifact, here or in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Here(Tag),
    There(Reference),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::There).map_err(|error| format!("{error}"));
        }
        text.parse().map(Self::Here).map_err(|error| format!("{error}"))
    }
}

impl Named {
    /// The name in the store, after a pull if need be.
    fn stored(self, global: &Global, options: &Options) -> anyhow::Result<Tag> {
        match self {
            Self::Here(tag) => Ok(tag),
            Self::There(reference) => stored(global, &reference, options),
        }
    }
}

/// The name in the store of the artifact that is given, or else pinned; a pull obeys the host's policy.
pub(super) fn meant(
    global: &Global,
    named: Option<Named>,
    deltas: &DeltaArgs,
    registry: RegistryArgs,
) -> anyhow::Result<Tag> {
    let options = Options {
        policy: Policy::load(&global.dir)?,
        deltas: deltas.wanted(),
        ..registry.into()
    };
    match named {
        Some(named) => named.stored(global, &options),
        None => pinned(global, options),
    }
}

/// The name in the store of what the project pins, after a pull if need be. What is pinned in different projects does not
/// take each other's name: it is called by its digest.
fn pinned(global: &Global, mut options: Options) -> anyhow::Result<Tag> {
    let dir = env::current_dir().context("could not find the current directory")?;
    let Some(pin) = Pin::find(&dir)? else {
        bail!(
            "no artifact is given, and neither `{}` nor a directory above it has a `{}`; name one \
             (`parbake artifact list`), or pin one for this project with `parbake pin REFERENCE`",
            dir.display(),
            parbake_artifact::pin::FILE
        );
    };
    options.plain_http |= pin.plain_http;
    tracing::info!("`{}` pins `{}`", pin.path.display(), pin.artifact);
    stored(global, &pin.artifact.pinned(pin.digest()?), &options)
}

fn stored(global: &Global, reference: &Reference, options: &Options) -> anyhow::Result<Tag> {
    let store = Arc::new(Store::open(&global.store())?);
    if let Some(tag) = store.find(reference)? {
        return Ok(tag);
    }
    let pulled = super::block_on(pull(&store, reference, None, options))??;
    told(global, &pulled, reference);
    Ok(pulled.artifact.tag)
}

/// Writes down what was pulled.
pub(super) fn told(global: &Global, pulled: &Pulled, reference: &Reference) {
    Log::new(&global.dir).record(EventKind::Pulled {
        artifact: pulled.artifact.tag.clone(),
        reference: reference.to_string(),
    });
}

#[cfg(test)]
mod tests {
    use super::Named;

    #[test]
    fn artifacts_are_here_or_there() {
        assert!(matches!("k8s-1.34".parse(), Ok(Named::Here(tag)) if tag.as_str() == "k8s-1.34"));
        let there = "example.org/clusters/k8s:v5".parse();
        assert!(matches!(there, Ok(Named::There(reference)) if reference.tag() == Some("v5")));
        for (text, problem) in [
            ("../etc", "no reference"),
            ("clusters/k8s", "names no registry"),
            ("a b", "no artifact name"),
        ] {
            let error = text.parse::<Named>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
