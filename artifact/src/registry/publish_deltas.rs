//! Creating deltas from the layers of an older artifact, and publishing them with a newer one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use oci_spec::image::MediaType;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{Instrument, Span};

use super::deltas::list;
use super::progress::Progress;
use super::repository::Repository;
use super::{RegistryError, joined};
use crate::deltas::{ARTIFACT_TYPE, DeltaManifest, FROM_ARTIFACT};
use crate::digest::HashingStream;
use crate::layer::{Layer, make_delta, rebuild};
use crate::manifest::{BlobRef, descriptor};
use crate::referrers::{EMPTY, MANIFEST_MEDIA_TYPE};
use crate::store::{Artifact, Store, StoreError};
use crate::tag::Tag;

/// Smaller layers get no delta, since a request takes as long as their download. In bytes.
const MIN_LAYER: u64 = 64 << 10;
/// A delta must be smaller than this share of its layer.
const MAX_PERCENT: u64 = 90;

/// Published deltas from an older artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedDeltas {
    /// The older artifact in the store.
    pub from: Tag,
    /// How many layers can be rebuilt.
    pub layers: usize,
    /// Size of these layers in full, in bytes; `None` if the deltas were published before.
    pub layer_bytes: Option<u64>,
    /// Size of the deltas, in bytes.
    pub bytes: u64,
}

struct NewDelta {
    old: Layer,
    new: Layer,
    file: NamedTempFile,
    blob: BlobRef,
}

/// Creates and publishes the deltas to one artifact.
pub(super) struct DeltaPublisher<'a> {
    pub(super) repository: &'a Repository,
    pub(super) store: &'a Arc<Store>,
    pub(super) progress: &'a Progress,
    pub(super) artifact: &'a Artifact,
    /// The artifact's manifest.
    pub(super) subject: &'a BlobRef,
}

impl DeltaPublisher<'_> {
    /// Creates and publishes the deltas from the artifact `old`, unless the registry has them.
    pub(super) async fn publish_from(&self, old: &Artifact) -> Result<PublishedDeltas, RegistryError> {
        let listed = list(self.repository, &self.subject.digest).await?;
        if let Some(manifest) = listed
            .iter()
            .find(|manifest| manifest.from.as_ref() == Some(&old.digest))
        {
            return Ok(PublishedDeltas {
                from: old.tag.clone(),
                layers: manifest.deltas.len(),
                layer_bytes: None,
                bytes: manifest.deltas.iter().map(|delta| delta.blob.size).sum(),
            });
        }
        let deltas = self.create_all(old).await?;
        if !deltas.is_empty() {
            self.publish(old, &deltas).await?;
        }
        Ok(PublishedDeltas {
            from: old.tag.clone(),
            layers: deltas.len(),
            layer_bytes: Some(deltas.iter().map(|delta| delta.new.size).sum()),
            bytes: deltas.iter().map(|delta| delta.blob.size).sum(),
        })
    }

    async fn create_all(&self, old: &Artifact) -> Result<Vec<NewDelta>, RegistryError> {
        let permits = Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from)));
        let mut tasks = JoinSet::new();
        for (old, new) in pairs(&old.layers, &self.artifact.layers) {
            let (store, permits, span) = (Arc::clone(self.store), Arc::clone(&permits), Span::current());
            let create = async move {
                let _permit = permits.acquire().await;
                joined(spawn_blocking(move || span.in_scope(|| create(&store, old, new))).await)
            };
            tasks.spawn(create.in_current_span());
        }
        let mut all = Vec::new();
        while let Some(created) = tasks.join_next().await {
            all.extend(joined(created)?);
        }
        // The same deltas must yield the same manifest.
        all.sort_by(|left, right| left.new.title.cmp(&right.new.title));
        Ok(all)
    }

    async fn publish(&self, old: &Artifact, deltas: &[NewDelta]) -> Result<(), RegistryError> {
        for delta in deltas {
            let what = format!("delta of layer `{}`", delta.new.title);
            self.upload(delta.file.path(), &delta.blob, &what).await?;
        }
        let config = self.store.put_document(EMPTY)?;
        let path = self.store.blob_path(&config.digest);
        self.upload(&path, &config, "the config of the deltas").await?;
        let layers: Vec<_> = deltas
            .iter()
            .map(|delta| (&delta.old, &delta.new, delta.blob.clone()))
            .collect();
        let bytes = DeltaManifest::to_json(self.subject, &old.digest, &layers);
        let annotations = [(FROM_ARTIFACT, old.digest.as_str())];
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &BlobRef::of(&bytes), &annotations);
        entry.set_artifact_type(Some(MediaType::Other(ARTIFACT_TYPE.to_owned())));
        let subject = &self.subject.digest;
        self.repository.put_referrer(subject, entry, &bytes).await
    }

    async fn upload(&self, path: &Path, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        if !self.repository.has_blob(&blob.digest, what).await? {
            let progress = self.progress.clone();
            let sent = move |bytes| progress.transferred(bytes);
            self.repository.upload_blob(path, blob, what, sent).await?;
        }
        Ok(())
    }
}

/// Pairs each changed layer with the old layer to create its delta from: the one with the same title, or else the one whose
/// title has the longest common prefix.
fn pairs(old: &[Layer], new: &[Layer]) -> Vec<(Layer, Layer)> {
    let mut pairs: Vec<(Layer, Layer)> = Vec::new();
    for layer in new.iter().filter(|layer| layer.size >= MIN_LAYER) {
        let is_same = |other: &Layer| other.digest == layer.digest;
        if old.iter().any(is_same) || pairs.iter().any(|(_, other)| is_same(other)) {
            continue;
        }
        let similarity = |other: &Layer| {
            let both = other.title.bytes().zip(layer.title.bytes());
            let prefix = both.take_while(|(left, right)| left == right).count();
            (other.title == layer.title, prefix)
        };
        let best = old.iter().max_by_key(|other| similarity(other));
        pairs.extend(
            best.filter(|best| similarity(best).1 > 0)
                .map(|best| (best.clone(), layer.clone())),
        );
    }
    pairs
}

/// Creates a delta, and verifies that it yields the layer's exact bytes: a layer that another tool or version compressed may
/// not be reproducible. `None` if it is not, or if the delta is too large.
fn create(store: &Store, old: Layer, new: Layer) -> Result<Option<NewDelta>, StoreError> {
    let what = format!("make delta of layer `{}`", new.title);
    let _step = tracing::debug_span!("step", what).entered();
    let open = |layer: &Layer| File::open(store.blob_path(&layer.digest));
    let path = store.blob_path(&new.digest);
    let mut out = HashingStream::new(store.temp_file()?);
    make_delta(|| open(&old), || open(&new), &mut out).map_err(StoreError::io("make a delta to", &path))?;
    let (file, digest, size) = out.finish();
    let is_small = size < new.size / 100 * MAX_PERCENT;
    if !is_small || !is_reproducible(&old, &new, &file, open).map_err(StoreError::io("rebuild", &path))? {
        let reason = if is_small {
            "it would not yield the same bytes"
        } else {
            "it would save too little"
        };
        tracing::debug!(
            "layer `{}` gets no delta from `{}`: {reason}",
            new.title,
            old.title
        );
        return Ok(None);
    }
    Ok(Some(NewDelta {
        old,
        new,
        file,
        blob: BlobRef { digest, size },
    }))
}

fn is_reproducible(
    old: &Layer,
    new: &Layer,
    delta: &NamedTempFile,
    open: impl Fn(&Layer) -> io::Result<File>,
) -> io::Result<bool> {
    let mut out = HashingStream::new(io::sink());
    rebuild(open(old)?, delta.reopen()?, new.unpacked_size, &mut out)?;
    let (_, digest, size) = out.finish();
    Ok(digest == new.digest && size == new.size)
}

#[cfg(test)]
mod tests {
    use super::{MIN_LAYER, pairs};
    use crate::digest::Digest;
    use crate::layer::Layer;

    fn layer(title: &str, content: &str, size: u64) -> Layer {
        Layer {
            title: title.to_owned(),
            digest: Digest::of(content.as_bytes()),
            diff_id: Digest::of(b"plain"),
            size,
            unpacked_size: size,
        }
    }

    #[test]
    fn layers_are_paired_by_title() {
        let old = ["os", "image/etcd", "image/pause", "same"].map(|title| layer(title, title, MIN_LAYER));
        let new = [
            layer("os", "new os", MIN_LAYER),
            layer("image/etc", "new etc", MIN_LAYER),
            layer("image/pause", "small", MIN_LAYER - 1),
            layer("renamed", "same", MIN_LAYER),
            layer("image/other", "twice", MIN_LAYER),
            layer("image/other", "twice", MIN_LAYER),
            layer("xyz", "new", MIN_LAYER),
        ];
        let found = pairs(&old, &new);
        let found: Vec<_> = found
            .iter()
            .map(|(old, new)| (&old.title[..], &new.title[..]))
            .collect();
        let expected = [
            ("os", "os"),
            ("image/etcd", "image/etc"),
            ("image/pause", "image/other"),
        ];
        assert_eq!(found, expected);
    }
}
