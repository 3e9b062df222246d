//! Deltas from the layers of an older artifact, made and sent with a newer one.

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

use super::client::Repository;
use super::deltas::listed;
use super::progress::Progress;
use super::upload::Uploads;
use super::{RegistryError, joined};
use crate::deltas::{ARTIFACT_TYPE, DeltaManifest, FROM_ARTIFACT};
use crate::digest::HashingStream;
use crate::layer::{Layer, make_delta, rebuild};
use crate::manifest::{BlobRef, descriptor};
use crate::referrers::{EMPTY, MANIFEST_MEDIA_TYPE};
use crate::store::{Artifact, Store, StoreError};
use crate::tag::Tag;

/// Layers of fewer bytes come in full: a request takes as long.
const SMALLEST: u64 = 64 << 10;
/// A delta that has more than so many hundredths of its layer spares nothing.
const WORTH_IT: u64 = 90;

/// Deltas from an older artifact that are in the registry now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedDeltas {
    /// The older artifact's name in the store.
    pub from: Tag,
    /// Layers that can be made.
    pub layers: usize,
    /// What they take in full, in bytes; of those that were there before this is not known.
    pub layer_bytes: Option<u64>,
    /// What the deltas take, in bytes.
    pub bytes: u64,
}

/// A delta that is worth it.
struct Made {
    old: Layer,
    new: Layer,
    file: NamedTempFile,
    blob: BlobRef,
}

/// What makes deltas and sends them.
pub(super) struct Offering<'a> {
    pub(super) repository: &'a Repository,
    pub(super) uploads: &'a Uploads,
    pub(super) store: &'a Arc<Store>,
    pub(super) progress: &'a Progress,
    /// The artifact that they make.
    pub(super) artifact: &'a Artifact,
    /// Its manifest.
    pub(super) subject: &'a BlobRef,
}

impl Offering<'_> {
    /// Makes and sends the deltas from one artifact, unless the registry has them.
    pub(super) async fn from(&self, old: &Artifact) -> Result<PublishedDeltas, RegistryError> {
        let there = listed(self.repository, &self.subject.digest).await?;
        if let Some(there) = there
            .iter()
            .find(|listed| listed.from.as_ref() == Some(&old.digest))
        {
            return Ok(PublishedDeltas {
                from: old.tag.clone(),
                layers: there.deltas.len(),
                layer_bytes: None,
                bytes: there.deltas.iter().map(|delta| delta.blob.size).sum(),
            });
        }
        let made = self.make(old).await?;
        if !made.is_empty() {
            self.send(old, &made).await?;
        }
        Ok(PublishedDeltas {
            from: old.tag.clone(),
            layers: made.len(),
            layer_bytes: Some(made.iter().map(|made| made.new.size).sum()),
            bytes: made.iter().map(|made| made.blob.size).sum(),
        })
    }

    async fn make(&self, old: &Artifact) -> Result<Vec<Made>, RegistryError> {
        let turns = Arc::new(Semaphore::new(available_parallelism().map_or(2, usize::from)));
        let mut tasks = JoinSet::new();
        for (old, new) in pairs(&old.layers, &self.artifact.layers) {
            let (store, turns, span) = (Arc::clone(self.store), Arc::clone(&turns), Span::current());
            let make = async move {
                let _turn = turns.acquire().await;
                joined(spawn_blocking(move || span.in_scope(|| make(&store, old, new))).await)
            };
            tasks.spawn(make.in_current_span());
        }
        let mut all = Vec::new();
        while let Some(made) = tasks.join_next().await {
            all.extend(joined(made)?);
        }
        // Equal deltas are to give an equal manifest.
        all.sort_by(|left, right| left.new.title.cmp(&right.new.title));
        Ok(all)
    }

    async fn send(&self, old: &Artifact, all: &[Made]) -> Result<(), RegistryError> {
        for made in all {
            let what = format!("delta of layer `{}`", made.new.title);
            self.blob(made.file.path(), &made.blob, &what).await?;
        }
        let config = self.store.put_document(EMPTY)?;
        let path = self.store.blob_path(&config.digest);
        self.blob(&path, &config, "deltas").await?;
        let layers: Vec<_> = all
            .iter()
            .map(|made| (&made.old, &made.new, made.blob.clone()))
            .collect();
        let bytes = DeltaManifest::to_json(self.subject, &old.digest, &layers);
        let annotations = [(FROM_ARTIFACT, old.digest.as_str())];
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &BlobRef::of(&bytes), &annotations);
        entry.set_artifact_type(Some(MediaType::Other(ARTIFACT_TYPE.to_owned())));
        let subject = &self.subject.digest;
        self.repository.send_referrer(subject, entry, &bytes).await
    }

    async fn blob(&self, path: &Path, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        if self.repository.has(&blob.digest, what).await? {
            return Ok(());
        }
        let progress = self.progress.clone();
        let sent = move |bytes| progress.transferred(bytes);
        self.uploads.blob(self.repository, path, blob, what, sent).await
    }
}

/// Each new layer that is worth a delta, behind the old one that it should come of: that of the same title, or else the
/// one whose title begins most like it.
fn pairs(old: &[Layer], new: &[Layer]) -> Vec<(Layer, Layer)> {
    let mut pairs: Vec<(Layer, Layer)> = Vec::new();
    for layer in new.iter().filter(|layer| layer.size >= SMALLEST) {
        let is_it = |other: &Layer| other.digest == layer.digest;
        if old.iter().any(is_it) || pairs.iter().any(|(_, other)| is_it(other)) {
            continue;
        }
        let likeness = |other: &Layer| {
            let both = other.title.bytes().zip(layer.title.bytes());
            let equal = both.take_while(|(left, right)| left == right).count();
            (other.title == layer.title, equal)
        };
        let best = old.iter().max_by_key(|other| likeness(other));
        pairs.extend(
            best.filter(|best| likeness(best).1 > 0)
                .map(|best| (best.clone(), layer.clone())),
        );
    }
    pairs
}

/// Makes a delta, and sees that the layer's very bytes come out of it: what another tool or release packed may come out
/// otherwise, and then it helps nobody.
fn make(store: &Store, old: Layer, new: Layer) -> Result<Option<Made>, StoreError> {
    let _step = tracing::debug_span!("step", what = format!("make delta of layer `{}`", new.title)).entered();
    let open = |layer: &Layer| File::open(store.blob_path(&layer.digest));
    let path = store.blob_path(&new.digest);
    let mut out = HashingStream::new(store.temp_file()?);
    make_delta(|| open(&old), || open(&new), &mut out).map_err(StoreError::io("make a delta to", &path))?;
    let (file, digest, size) = out.finish();
    let worth_it = size < new.size / 100 * WORTH_IT;
    if !worth_it || !comes_out(&old, &new, &file, open).map_err(StoreError::io("make again", &path))? {
        let why = if worth_it {
            "does not make the same bytes"
        } else {
            "spares too little"
        };
        tracing::debug!(
            "layer `{}` gets no delta from `{}`: it {why}",
            new.title,
            old.title
        );
        return Ok(None);
    }
    Ok(Some(Made {
        old,
        new,
        file,
        blob: BlobRef { digest, size },
    }))
}

fn comes_out(
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
    use super::{SMALLEST, pairs};
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
    fn layers_come_of_those_of_the_same_title() {
        let old = ["os", "image/etcd", "image/pause", "same"].map(|title| layer(title, title, SMALLEST));
        let new = [
            layer("os", "new os", SMALLEST),
            layer("image/etc", "new etc", SMALLEST),
            layer("image/pause", "small", SMALLEST - 1),
            layer("renamed", "same", SMALLEST),
            layer("image/other", "twice", SMALLEST),
            layer("image/other", "twice", SMALLEST),
            layer("xyz", "new", SMALLEST),
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
