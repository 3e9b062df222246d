//! Rebuilding layers from older ones in the store, with deltas from a registry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::iter::once;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::Span;

use super::fetch::fetch_delta;
use super::progress::Progress;
use super::repository::Repository;
use super::sources::Sources;
use super::{RegistryError, joined};
use crate::deltas::{Delta, DeltaManifest, is_deltas};
use crate::digest::Digest;
use crate::http::one_line;
use crate::layer::{Layer, rebuild};
use crate::manifest::BlobRef;
use crate::store::{Store, StoreError, WholeBlob};

/// How many delta manifests of an artifact are read at most.
const MAX_MANIFESTS: usize = 32;

/// All delta manifests for the artifact `subject` that a repository lists, except unreadable ones.
pub(super) async fn list(
    repository: &Repository,
    subject: &Digest,
) -> Result<Vec<DeltaManifest>, RegistryError> {
    let mut found = Vec::new();
    let entries = repository.referrers(subject).await?;
    for entry in entries
        .iter()
        .filter(|entry| is_deltas(entry))
        .take(MAX_MANIFESTS)
    {
        let Some(bytes) = repository.find_manifest(entry.digest().as_ref()).await? else {
            continue;
        };
        let manifest = DeltaManifest::from_json(&bytes).ok().flatten();
        found.extend(manifest.filter(|manifest| manifest.subject == *subject));
    }
    Ok(found)
}

/// The smallest usable delta for each missing layer, by the digest of its blob.
#[derive(Debug, Clone, Default)]
pub(super) struct UsableDeltas(BTreeMap<Digest, Delta>);

impl UsableDeltas {
    /// Takes them from the first repository that lists any. No request is sent if the store has all layers, or none to
    /// rebuild them from. If no repository answers, the layers are downloaded in full.
    pub(super) async fn find(sources: &Sources, store: &Store, subject: &Digest, layers: &[Layer]) -> Self {
        let missing: Vec<_> = layers
            .iter()
            .filter(|layer| !has_blob_file(store, &layer.digest))
            .collect();
        if missing.is_empty() || store.tags().is_ok_and(|tags| tags.is_empty()) {
            return Self::default();
        }
        let (first, others) = sources.in_order();
        for repository in once(first).chain(others) {
            match list(repository, subject).await {
                Ok(listed) if listed.is_empty() => {}
                Ok(listed) => return Self::choose(store, &listed, &missing),
                Err(error) => tracing::warn!(
                    "{}; deltas of `{}` are not used",
                    one_line(&error),
                    repository.reference
                ),
            }
        }
        Self::default()
    }

    fn choose(store: &Store, listed: &[DeltaManifest], missing: &[&Layer]) -> Self {
        let mut best: BTreeMap<Digest, Delta> = BTreeMap::new();
        for delta in listed.iter().flat_map(|manifest| &manifest.deltas) {
            let Some(layer) = missing.iter().find(|layer| layer.digest == delta.to) else {
                continue;
            };
            // An interrupted download of the layer may need fewer bytes than a delta.
            let alternative = match best.get(&delta.to) {
                Some(other) => other.blob.size,
                None => layer.size.saturating_sub(store.partial_length(&layer.digest)),
            };
            if delta.blob.size < alternative && has_blob_file(store, &delta.from) {
                best.insert(delta.to.clone(), delta.clone());
            }
        }
        Self(best)
    }

    pub(super) fn get(&self, layer: &Layer) -> Option<&Delta> {
        self.0.get(&layer.digest)
    }
}

fn has_blob_file(store: &Store, digest: &Digest) -> bool {
    fs::metadata(store.blob_path(digest)).is_ok()
}

/// Downloads a delta; `None` if that fails or it is no longer needed.
pub(super) async fn download(
    sources: &Sources,
    store: &Arc<Store>,
    delta: &Delta,
    layer: &Layer,
    progress: &Progress,
) -> Option<WholeBlob> {
    let what = format!("delta of layer `{}`", layer.title);
    let blob = BlobRef {
        digest: layer.digest.clone(),
        size: layer.size,
    };
    let fetched = fetch_delta(sources, store, &delta.blob, &blob, &what, progress).await;
    fetched.unwrap_or_else(|error| {
        warn_unusable(layer, &one_line(&error));
        None
    })
}

/// Rebuilds the layer's blob in the store. False if the delta does not yield the right bytes.
pub(super) async fn rebuild_layer(store: &Arc<Store>, delta: &Delta, blob: WholeBlob, layer: &Layer) -> bool {
    let (span, store, from) = (Span::current(), Arc::clone(store), delta.from.clone());
    let wanted = layer.clone();
    let rebuilt = spawn_blocking(move || span.in_scope(|| try_rebuild(&store, &from, blob, &wanted)));
    match joined(rebuilt.await) {
        Ok(()) => true,
        Err(error) => {
            warn_unusable(layer, &one_line(&error));
            false
        }
    }
}

fn try_rebuild(store: &Store, from: &Digest, delta: WholeBlob, layer: &Layer) -> Result<(), StoreError> {
    let what = format!("rebuild layer `{}` from its delta", layer.title);
    let _step = tracing::debug_span!("step", what).entered();
    let path = store.blob_path(from);
    let rebuilt = delta.consume(|delta| {
        let old = File::open(&path).map_err(StoreError::io("read", &path))?;
        let mut out = store.blob_writer(&layer.digest, layer.size)?;
        rebuild(old, BufReader::new(delta), layer.unpacked_size, &mut out)
            .map_err(StoreError::io("apply a delta to", &path))?;
        out.finish()
    });
    rebuilt?
}

fn warn_unusable(layer: &Layer, reason: &str) {
    tracing::warn!(
        "the delta of layer `{}` cannot be used, the layer is downloaded in full: {reason}",
        layer.title
    );
}
