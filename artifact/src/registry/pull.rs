//! Pulling an artifact from a registry into the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{Instrument, Span};

use super::deltas::{self, UsableDeltas};
use super::fetch::fetch;
use super::progress::Progress;
use super::referrers;
use super::sources::Sources;
use super::{Options, PARALLEL_TRANSFERS, RegistryError, TransferStats, joined};
use crate::deltas::Delta;
use crate::digest::Digest;
use crate::layer::Layer;
use crate::manifest::{BlobRef, Manifest};
use crate::reference::Reference;
use crate::store::{Artifact, Store};
use crate::tag::Tag;

/// Limit for the config of an artifact, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

/// A pulled artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// In the store, with its layers unpacked.
    pub artifact: Artifact,
    pub stats: TransferStats,
}

/// Pulls an artifact, verifies and unpacks it, and tags it `tag`, which is moved if another artifact has it. Without `tag` it
/// gets [`Reference::local_name`], unless an unrelated artifact has that. Requires a runtime with several threads.
///
/// # Errors
/// The artifacts in the store are unchanged then. Complete and partial blobs stay for the next pull.
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
    let referrers = referrers::pull(&sources, store, &digest).await?;
    options
        .policy
        .check_pulled(store, &reference.to_string(), &digest, &referrers)
        .map_err(Box::new)?;
    let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob.size)).collect();
    let total = blobs.values().copied().fold(0, u64::saturating_add);
    let progress = Progress::new(&format!("pull `{reference}`"), total);
    let puller = Puller {
        reference: reference.clone(),
        sources: Arc::new(sources),
        store: Arc::clone(store),
        use_deltas: options.deltas,
        progress: progress.clone(),
        downloads: Arc::new(Semaphore::new(PARALLEL_TRANSFERS)),
        unpacks: Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from))),
    };
    puller
        .pull_blobs(&digest, &manifest)
        .instrument(progress.span())
        .await?;
    let importing = Arc::clone(store);
    let origin = reference.clone();
    let artifact =
        spawn_blocking(move || importing.import_with_referrers(&tag, &bytes, Some(&origin), &referrers));
    Ok(Pulled {
        artifact: joined(artifact.await)?,
        stats: progress.stats(),
    })
}

#[derive(Clone)]
struct Puller {
    reference: Reference,
    sources: Arc<Sources>,
    store: Arc<Store>,
    use_deltas: bool,
    progress: Progress,
    downloads: Arc<Semaphore>,
    unpacks: Arc<Semaphore>,
}

impl Puller {
    async fn pull_blobs(&self, digest: &Digest, manifest: &Manifest) -> Result<(), RegistryError> {
        let mut layers = self.pull_config(manifest).await?;
        let deltas = if self.use_deltas {
            UsableDeltas::find(&self.sources, &self.store, digest, &layers).await
        } else {
            UsableDeltas::default()
        };
        // The largest first, since it takes longest.
        layers.sort_by_key(|layer| (std::cmp::Reverse(layer.size), layer.digest.clone()));
        layers.dedup_by(|left, right| left.digest == right.digest);
        let mut tasks = JoinSet::new();
        for layer in layers {
            let (puller, delta) = (self.clone(), deltas.get(&layer).cloned());
            tasks.spawn(async move { puller.pull_layer(layer, delta).await }.in_current_span());
        }
        // An early return aborts the other tasks.
        while let Some(outcome) = tasks.join_next().await {
            joined(outcome)?;
        }
        Ok(())
    }

    /// Downloads the config, which is validated before any layer is requested.
    async fn pull_config(&self, manifest: &Manifest) -> Result<Vec<Layer>, RegistryError> {
        let config = &manifest.config;
        fetch(&self.sources, &self.store, config, "the config", &self.progress).await?;
        let bytes = self.store.document(config)?.unwrap_or_default();
        let (_, layers) = manifest
            .with_config(&bytes)
            .map_err(|source| RegistryError::unusable(&self.reference, source))?;
        Ok(layers)
    }

    /// Rebuilds a layer from its delta if that works, downloads it if not, and unpacks it.
    async fn pull_layer(self, layer: Layer, delta: Option<Delta>) -> Result<(), RegistryError> {
        let is_rebuilt = match delta {
            Some(delta) => self.rebuild(&layer, &delta).await,
            None => false,
        };
        if !is_rebuilt {
            self.fetch(&layer).await?;
        }
        let _permit = self.unpacks.acquire().await;
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
        let _permit = self.downloads.acquire().await;
        fetch(&self.sources, &self.store, &blob, &what, &self.progress).await
    }

    async fn rebuild(&self, layer: &Layer, delta: &Delta) -> bool {
        let permit = self.downloads.acquire().await;
        let blob = deltas::download(&self.sources, &self.store, delta, layer, &self.progress).await;
        drop(permit);
        let Some(blob) = blob else {
            return false;
        };
        let _permit = self.unpacks.acquire().await;
        let is_rebuilt = deltas::rebuild_layer(&self.store, delta, blob, layer).await;
        if is_rebuilt {
            self.progress.rebuilt(delta.blob.size, layer.size);
        }
        is_rebuilt
    }
}

/// The tag that is derived from the reference, unless an unrelated artifact has it.
fn local_name(store: &Store, reference: &Reference, digest: &Digest) -> Result<Tag, RegistryError> {
    let tag = reference
        .local_name()
        .map_err(|source| RegistryError::NoLocalTag {
            reference: reference.to_string(),
            source,
        })?;
    if !store.tags()?.contains(&tag) {
        return Ok(tag);
    }
    let origin = store.origin(&tag)?;
    let is_related = origin
        .as_ref()
        .is_some_and(|origin| origin.same_repository(reference));
    // The same artifact from elsewhere, or one that was created here and published.
    let is_same = || {
        store
            .manifest_bytes(&tag)
            .is_ok_and(|(found, _)| found == *digest)
    };
    if is_related || is_same() {
        return Ok(tag);
    }
    Err(RegistryError::TagInUse {
        tag,
        origin: match origin {
            Some(origin) => format!("pulled from `{origin}`"),
            None => "created here".to_owned(),
        },
        reference: reference.to_string(),
    })
}
