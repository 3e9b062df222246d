//! From the store into a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::Instrument;

use super::attached::Sending;
use super::client::Repository;
use super::offer::{Offering, PublishedDeltas};
use super::progress::Progress;
use super::upload::Uploads;
use super::{Options, RegistryError, SIDE_BY_SIDE, TransferStats, joined};
use crate::digest::Digest;
use crate::manifest::{BlobRef, Manifest};
use crate::reference::Reference;
use crate::signature::PrivateKey;
use crate::store::{Artifact, Store};
use crate::tag::Tag;

/// What was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Digest of the manifest.
    pub digest: Digest,
    /// What it took.
    pub stats: TransferStats,
    /// Whether the registry had all of it, under the same tag.
    pub unchanged: bool,
    /// Deltas from older artifacts, in the order in which these were given.
    pub deltas: Vec<PublishedDeltas>,
}

/// What is published with an artifact.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishOptions<'a> {
    /// What signs it.
    pub key: Option<&'a PrivateKey>,
    /// Artifacts in the store: whoever has one of them can pull deltas from there.
    pub delta_from: &'a [Tag],
}

/// Publishes the artifact `tag` as `reference`. What the repository has is not sent again; the manifest comes last, so
/// that whoever can see it can pull all of it.
///
/// # Errors
/// The reference means what it meant before then.
pub async fn publish(
    store: &Arc<Store>,
    tag: &Tag,
    reference: &Reference,
    options: &Options,
) -> Result<Published, RegistryError> {
    publish_with(store, tag, reference, options, PublishOptions::default()).await
}

/// The same, with more. A signature, like documents and signatures that the artifact has here, is there before the
/// reference means the artifact; in the store it is kept, too. So are deltas, but these are only in the registry.
///
/// # Errors
/// The reference means what it meant before then.
pub async fn publish_with(
    store: &Arc<Store>,
    tag: &Tag,
    reference: &Reference,
    options: &Options,
    extras: PublishOptions<'_>,
) -> Result<Published, RegistryError> {
    if reference.digest().is_some() {
        return Err(RegistryError::DigestGiven {
            reference: reference.to_string(),
        });
    }
    let artifact = store.get(tag)?;
    let older = extras.delta_from.iter().map(|tag| store.get(tag));
    let older = older.collect::<Result<Vec<_>, _>>()?;
    let (digest, bytes) = store.manifest_bytes(tag)?;
    let manifest =
        Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    let source = artifact
        .origin
        .clone()
        .filter(|origin| origin.registry() == reference.registry() && !origin.same_repository(reference));
    let (repository, uploads) = Repository::to_publish(reference, source.as_ref(), options).await?;
    let progress = Progress::new(
        &format!("publish `{tag}`"),
        artifact.size() + manifest.config.size,
    );
    let publishing = Publishing {
        repository: Arc::new(repository),
        uploads: Arc::new(uploads),
        source,
        store: Arc::clone(store),
        tag: tag.clone(),
        progress: progress.clone(),
        turns: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
    };
    let (unchanged, deltas) = publishing
        .all(&manifest, &artifact, &bytes, extras.key, &older)
        .instrument(progress.span())
        .await?;
    Ok(Published {
        digest,
        stats: progress.stats(),
        unchanged,
        deltas,
    })
}

/// All that a blob's way into the registry takes.
#[derive(Clone)]
struct Publishing {
    repository: Arc<Repository>,
    uploads: Arc<Uploads>,
    /// Another repository of the registry, which should have it all.
    source: Option<Reference>,
    store: Arc<Store>,
    tag: Tag,
    progress: Progress,
    turns: Arc<Semaphore>,
}

impl Publishing {
    async fn all(
        &self,
        manifest: &Manifest,
        artifact: &Artifact,
        bytes: &[u8],
        key: Option<&PrivateKey>,
        older: &[Artifact],
    ) -> Result<(bool, Vec<PublishedDeltas>), RegistryError> {
        let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob)).collect();
        let mut tasks = JoinSet::new();
        for blob in blobs.into_values() {
            let what = match manifest.title(&blob.digest) {
                Some(title) => format!("layer `{title}`"),
                None => "the config".to_owned(),
            };
            let (publishing, blob) = (self.clone(), blob.clone());
            tasks.spawn(async move { publishing.blob(&blob, &what).await }.in_current_span());
        }
        while let Some(outcome) = tasks.join_next().await {
            joined(outcome)?;
        }
        let sending = Sending::new(&self.repository, &self.uploads, &self.store, &artifact.digest);
        let unchanged = sending.all(key).await?;
        let deltas = self.deltas(artifact, &BlobRef::of(bytes), older).await?;
        if self.is_there(&artifact.digest).await? {
            return Ok((unchanged && self.progress.stats().transferred == 0, deltas));
        }
        self.uploads.manifest(&self.repository, bytes).await?;
        Ok((false, deltas))
    }

    async fn deltas(
        &self,
        artifact: &Artifact,
        subject: &BlobRef,
        older: &[Artifact],
    ) -> Result<Vec<PublishedDeltas>, RegistryError> {
        let offering = Offering {
            repository: &self.repository,
            uploads: &self.uploads,
            store: &self.store,
            progress: &self.progress,
            artifact,
            subject,
        };
        let mut all = Vec::new();
        for old in older {
            all.push(offering.from(old).await?);
        }
        Ok(all)
    }

    async fn blob(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        let _turn = self.turns.acquire().await;
        if self.has(&blob.digest, what).await? {
            self.progress.skipped(blob.size);
            return Ok(());
        }
        let path = self.store.blob_path(&blob.digest);
        let progress = self.progress.clone();
        let sent = move |bytes| progress.transferred(bytes);
        match self.uploads.blob(&self.repository, &path, blob, what, sent).await {
            // It says that the bytes are not those of the digest.
            Err(error @ RegistryError::Status { status: 400, .. }) => {
                let (store, tag) = (Arc::clone(&self.store), self.tag.clone());
                joined(spawn_blocking(move || store.verify(&tag)).await)?;
                Err(error)
            }
            outcome => outcome,
        }
    }

    /// Whether the repository has the blob, if need be from the other one.
    async fn has(&self, digest: &Digest, what: &str) -> Result<bool, RegistryError> {
        if self.repository.has(digest, what).await? {
            return Ok(true);
        }
        match &self.source {
            Some(source) => self.uploads.mount(&self.repository, source, digest, what).await,
            None => Ok(false),
        }
    }

    /// Whether the reference means this manifest already.
    async fn is_there(&self, digest: &Digest) -> Result<bool, RegistryError> {
        match self.repository.manifest().await {
            Ok((_, found)) => Ok(found == *digest),
            // Some say so, and some only that it is forbidden, of what is not there.
            Err(RegistryError::NotFound { .. } | RegistryError::Denied { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
