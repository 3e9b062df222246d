//! From a registry into the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{Instrument, Span};

use super::attached;
use super::deltas::{self, Offer};
use super::fetch::fetch;
use super::progress::Progress;
use super::sources::Sources;
use super::{Options, RegistryError, SIDE_BY_SIDE, TransferStats, joined};
use crate::deltas::Delta;
use crate::digest::Digest;
use crate::layer::Layer;
use crate::manifest::{BlobRef, Manifest};
use crate::reference::Reference;
use crate::store::{Artifact, Store};
use crate::tag::Tag;

/// More than the config of any artifact has, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// What was pulled.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The artifact, in the store and unpacked.
    pub artifact: Artifact,
    /// What it took.
    pub stats: TransferStats,
}

/// Pulls an artifact, checks and unpacks it, and gives it the name `tag`, which it takes from the artifact that had it.
/// Without one it gets [`Reference::local_name`], but only if that is free, or has the same artifact, or one from the
/// same repository. It needs a runtime with more than one thread.
///
/// # Errors
/// What was in the store before is as it was then. Blobs that came whole stay, and parts of others, for the next pull.
pub async fn pull(
    store: &Arc<Store>,
    reference: &Reference,
    tag: Option<&Tag>,
    options: &Options,
) -> Result<Pulled, RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, digest) = sources.manifest().await?;
    let manifest =
        Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    if manifest.config.size > MAX_CONFIG {
        return Err(RegistryError::TooLarge {
            reference: reference.to_string(),
            what: "the config",
            limit: MAX_CONFIG,
        });
    }
    let tag = match tag {
        Some(tag) => tag.clone(),
        None => local_name(store, reference, &digest)?,
    };
    let attached = attached::pull(&sources, store, &digest).await?;
    options
        .policy
        .check_pulled(store, &reference.to_string(), &digest, &attached)
        .map_err(Box::new)?;
    let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob.size)).collect();
    let total = blobs.values().copied().fold(0, u64::saturating_add);
    let progress = Progress::new(&format!("pull `{reference}`"), total);
    let pulling = Pulling {
        reference: reference.clone(),
        sources: Arc::new(sources),
        store: Arc::clone(store),
        deltas: options.deltas,
        progress: progress.clone(),
        downloads: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
        unpacks: Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from))),
    };
    pulling
        .all(&digest, &manifest)
        .instrument(progress.span())
        .await?;
    let importing = Arc::clone(store);
    let origin = reference.clone();
    let artifact =
        spawn_blocking(move || importing.import_with_referrers(&tag, &bytes, Some(&origin), &attached));
    Ok(Pulled {
        artifact: joined(artifact.await)?,
        stats: progress.stats(),
    })
}

/// All that a layer's way into the store takes.
#[derive(Clone)]
struct Pulling {
    reference: Reference,
    sources: Arc<Sources>,
    store: Arc<Store>,
    /// Whether layers may come as deltas.
    deltas: bool,
    progress: Progress,
    downloads: Arc<Semaphore>,
    unpacks: Arc<Semaphore>,
}

impl Pulling {
    async fn all(&self, digest: &Digest, manifest: &Manifest) -> Result<(), RegistryError> {
        let mut layers = self.config(manifest).await?;
        let offer = if self.deltas {
            Offer::find(&self.sources, &self.store, digest, &layers).await
        } else {
            Offer::default()
        };
        // The largest decides how long it takes at least.
        layers.sort_by_key(|layer| (std::cmp::Reverse(layer.size), layer.digest.clone()));
        layers.dedup_by(|left, right| left.digest == right.digest);
        let mut tasks = JoinSet::new();
        for layer in layers {
            let (pulling, delta) = (self.clone(), offer.of(&layer).cloned());
            tasks.spawn(async move { pulling.layer(layer, delta).await }.in_current_span());
        }
        // Who returns early drops the others.
        while let Some(outcome) = tasks.join_next().await {
            joined(outcome)?;
        }
        Ok(())
    }

    /// Gets the config; what it says of the layers is checked before any of them is asked for.
    async fn config(&self, manifest: &Manifest) -> Result<Vec<Layer>, RegistryError> {
        let config = &manifest.config;
        fetch(&self.sources, &self.store, config, "the config", &self.progress).await?;
        let bytes = self.store.document(config)?.unwrap_or_default();
        let (_, layers) = manifest
            .with_config(&bytes)
            .map_err(|source| RegistryError::unusable(&self.reference, source))?;
        Ok(layers)
    }

    async fn layer(self, layer: Layer, delta: Option<Delta>) -> Result<(), RegistryError> {
        let made = match delta {
            Some(delta) => self.make(&layer, &delta).await,
            None => false,
        };
        if !made {
            self.fetch(&layer).await?;
        }
        let _turn = self.unpacks.acquire().await;
        let (span, store) = (Span::current(), Arc::clone(&self.store));
        let unpacked = spawn_blocking(move || span.in_scope(|| store.unpacked(&layer)));
        joined(unpacked.await)?;
        Ok(())
    }

    async fn fetch(&self, layer: &Layer) -> Result<(), RegistryError> {
        let blob = BlobRef {
            digest: layer.digest.clone(),
            size: layer.size,
        };
        let what = format!("layer `{}`", layer.title);
        let _turn = self.downloads.acquire().await;
        fetch(&self.sources, &self.store, &blob, &what, &self.progress).await
    }

    /// Makes a layer out of an older one. Whether that is done; if not, it can still be fetched.
    async fn make(&self, layer: &Layer, delta: &Delta) -> bool {
        let turn = self.downloads.acquire().await;
        let got = deltas::get(&self.sources, &self.store, delta, layer, &self.progress).await;
        drop(turn);
        let Some(got) = got else {
            return false;
        };
        let _turn = self.unpacks.acquire().await;
        let made = deltas::make(&self.store, delta, got, layer).await;
        if made {
            self.progress.rebuilt(delta.blob.size, layer.size);
        }
        made
    }
}

/// The name that the artifact gets by itself, if it may.
fn local_name(store: &Store, reference: &Reference, digest: &Digest) -> Result<Tag, RegistryError> {
    let tag = reference.local_name().map_err(|source| RegistryError::Name {
        reference: reference.to_string(),
        source,
    })?;
    if !store.tags()?.contains(&tag) {
        return Ok(tag);
    }
    let origin = store.origin(&tag)?;
    let related = origin
        .as_ref()
        .is_some_and(|origin| origin.same_repository(reference));
    // The same artifact from elsewhere, or one that was baked here and published.
    let same = || {
        store
            .manifest_bytes(&tag)
            .is_ok_and(|(found, _)| found == *digest)
    };
    if related || same() {
        return Ok(tag);
    }
    Err(RegistryError::Taken {
        tag,
        origin: match origin {
            Some(origin) => format!("pulled from `{origin}`"),
            None => "made here".to_owned(),
        },
        reference: reference.to_string(),
    })
}
