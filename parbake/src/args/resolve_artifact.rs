//! Finds the artifact to start: by name, by reference, or by the project's pin.

use std::env;
use std::sync::Arc;

use anyhow::{Context, bail};
use parbake_artifact::registry::{Options, Pulled, pull};
use parbake_artifact::{Pin, Reference, Store, Tag};
use parbake_up::events::{EventKind, Log};

use super::{ArtifactName, GlobalArgs};

/// Returns the name in the store of `artifact`, or else of what the project pins; pulls it if the store lacks it.
pub(crate) fn resolve(
    global: &GlobalArgs,
    artifact: Option<ArtifactName>,
    options: Options,
) -> anyhow::Result<Tag> {
    match artifact {
        Some(ArtifactName::Stored(tag)) => Ok(tag),
        Some(ArtifactName::Remote(reference)) => stored(global, &reference, &options),
        None => pinned(global, options),
    }
}

/// Artifacts pinned in several projects do not take each other's name: they are named after their digest.
fn pinned(global: &GlobalArgs, mut options: Options) -> anyhow::Result<Tag> {
    let dir = env::current_dir().context("could not find the current directory")?;
    let Some(pin) = Pin::find(&dir)? else {
        bail!(
            "no artifact is given, and there is no `{}` in `{}` or a directory above it\n\
             name an artifact (`parbake artifact list` shows them), or pin one for this project with `parbake pin REFERENCE`",
            parbake_artifact::pin::FILE,
            dir.display(),
        );
    };
    options.plain_http |= pin.plain_http;
    tracing::info!("`{}` pins `{}`", pin.path.display(), pin.artifact);
    stored(global, &pin.artifact.pinned(pin.digest()?), &options)
}

fn stored(global: &GlobalArgs, reference: &Reference, options: &Options) -> anyhow::Result<Tag> {
    let store = Arc::new(Store::open(&global.store())?);
    if let Some(tag) = store.find(reference)? {
        return Ok(tag);
    }
    let pulled = crate::runtime::block_on(pull(&store, reference, None, options))??;
    record(global, &pulled, reference);
    Ok(pulled.artifact.tag)
}

/// Records a pull in the event log.
pub(crate) fn record(global: &GlobalArgs, pulled: &Pulled, reference: &Reference) {
    Log::new(&global.dir).record(EventKind::Pulled {
        artifact: pulled.artifact.tag.clone(),
        reference: reference.to_string(),
    });
}
