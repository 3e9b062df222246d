//! Layers out of older ones that the store has, and what makes them out of those from a registry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::Span;

use super::client::Repository;
use super::fetch::fetch_delta;
use super::progress::Progress;
use super::retry::in_a_line;
use super::sources::Sources;
use super::{RegistryError, joined};
use crate::deltas::{Delta, DeltaManifest, is_deltas};
use crate::digest::Digest;
use crate::layer::{Layer, rebuild};
use crate::manifest::BlobRef;
use crate::store::{Store, StoreError, WholeBlob};

/// More pairs of artifacts than anybody makes deltas for; others are not looked at.
const MOST: usize = 32;

/// All deltas to the manifest `subject` that a repository lists. What cannot be read is none.
pub(super) async fn listed(
    repository: &Repository,
    subject: &Digest,
) -> Result<Vec<DeltaManifest>, RegistryError> {
    let mut found = Vec::new();
    let entries = repository.referrers(subject).await?;
    for entry in entries.iter().filter(|entry| is_deltas(entry)).take(MOST) {
        let Some(bytes) = repository.find_manifest(entry.digest().as_ref()).await? else {
            continue;
        };
        let manifest = DeltaManifest::from_json(&bytes).ok().flatten();
        found.extend(manifest.filter(|manifest| manifest.subject == *subject));
    }
    Ok(found)
}

/// The best delta for each layer that can come as one: by the digest of its blob.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer(BTreeMap<Digest, Delta>);

impl Offer {
    /// What the first place offers that answers. Nothing is asked when the store has all layers, or nothing to make them
    /// of; and when nobody answers, the layers come in full.
    pub(super) async fn find(sources: &Sources, store: &Store, subject: &Digest, layers: &[Layer]) -> Self {
        let missing: Vec<_> = layers
            .iter()
            .filter(|layer| !is_there(store, &layer.digest))
            .collect();
        if missing.is_empty() || store.tags().is_ok_and(|tags| tags.is_empty()) {
            return Self::default();
        }
        let (first, others) = sources.in_order();
        for repository in std::iter::once(first).chain(others) {
            match listed(repository, subject).await {
                Ok(listed) if listed.is_empty() => {}
                Ok(listed) => return Self::choose(store, &listed, &missing),
                Err(error) => tracing::warn!(
                    "{}; no deltas of `{}` are used",
                    in_a_line(&error),
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
            // What came of the layer before need not come again.
            let otherwise = match best.get(&delta.to) {
                Some(other) => other.blob.size,
                None => layer.size.saturating_sub(store.partial_length(&layer.digest)),
            };
            if delta.blob.size < otherwise && is_there(store, &delta.from) {
                best.insert(delta.to.clone(), delta.clone());
            }
        }
        Self(best)
    }

    /// The delta that makes a layer.
    pub(super) fn of(&self, layer: &Layer) -> Option<&Delta> {
        self.0.get(&layer.digest)
    }
}

fn is_there(store: &Store, digest: &Digest) -> bool {
    fs::metadata(store.blob_path(digest)).is_ok()
}

/// Gets the delta; `None` when it does not come, or is not needed any more. The layer can still come in full.
pub(super) async fn get(
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
        instead(layer, &in_a_line(&error));
        None
    })
}

/// Makes the layer's blob and puts it into the store, if it is the right one. Whether it is there now.
pub(super) async fn make(store: &Arc<Store>, delta: &Delta, blob: WholeBlob, layer: &Layer) -> bool {
    let (span, store, from) = (Span::current(), Arc::clone(store), delta.from.clone());
    let (making, title) = (layer.clone(), layer.clone());
    let made = spawn_blocking(move || span.in_scope(|| try_make(&store, &from, blob, &making)));
    match joined(made.await) {
        Ok(()) => true,
        Err(error) => {
            instead(&title, &in_a_line(&RegistryError::from(error)));
            false
        }
    }
}

fn try_make(store: &Store, from: &Digest, delta: WholeBlob, layer: &Layer) -> Result<(), StoreError> {
    let _step = tracing::debug_span!(
        "step",
        what = format!("make layer `{}` of its delta", layer.title)
    )
    .entered();
    let path = store.blob_path(from);
    let made = delta.used(|delta| {
        let old = File::open(&path).map_err(StoreError::io("read", &path))?;
        let mut out = store.blob_writer(&layer.digest, layer.size)?;
        rebuild(old, BufReader::new(delta), layer.unpacked_size, &mut out)
            .map_err(StoreError::io("apply a delta to", &path))?;
        out.finish()
    });
    made?
}

fn instead(layer: &Layer, why: &str) {
    tracing::warn!(
        "layer `{}` comes in full, its delta is of no use: {why}",
        layer.title
    );
}
