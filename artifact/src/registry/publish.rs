//! Publishing an artifact from the store to a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::Instrument;

use super::progress::Progress;
use super::publish_deltas::{DeltaPublisher, PublishedDeltas};
use super::referrers::ReferrerPublisher;
use super::repository::Repository;
use super::{Options, PARALLEL_TRANSFERS, RegistryError, TransferStats, joined};
use crate::digest::Digest;
use crate::http::HttpError;
use crate::manifest::{BlobRef, Manifest};
use crate::reference::Reference;
use crate::referrers::MANIFEST_MEDIA_TYPE;
use crate::signature::PrivateKey;
use crate::store::{Artifact, Store};
use crate::tag::Tag;

/// A published artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The digest of the manifest.
    pub digest: Digest,
    pub stats: TransferStats,
    /// True if the registry had all of it before, under the same tag.
    pub unchanged: bool,
    /// Deltas from older artifacts, in the order of [`PublishOptions::delta_from`].
    pub deltas: Vec<PublishedDeltas>,
}

/// Additions to a published artifact.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishOptions<'a> {
    /// Signs the artifact.
    pub key: Option<&'a PrivateKey>,
    /// Older artifacts in the store: users who have one of them can pull deltas.
    pub delta_from: &'a [Tag],
}

/// Publishes the artifact `tag` as `reference`. Blobs that the repository has are not sent again. The manifest is sent last,
/// so that a visible artifact is complete.
///
/// # Errors
/// `reference` then refers to what it did before.
pub async fn publish(
    store: &Arc<Store>,
    tag: &Tag,
    reference: &Reference,
    options: &Options,
) -> Result<Published, RegistryError> {
    publish_with(store, tag, reference, options, PublishOptions::default()).await
}

/// Like [`publish`], with a new signature and deltas. Documents, signatures and deltas are sent before the manifest. A new
/// signature is stored here, too.
///
/// # Errors
/// `reference` then refers to what it did before.
pub async fn publish_with(
    store: &Arc<Store>,
    tag: &Tag,
    reference: &Reference,
    options: &Options,
    additions: PublishOptions<'_>,
) -> Result<Published, RegistryError> {
    if reference.digest().is_some() {
        return Err(RegistryError::DigestGiven {
            reference: reference.to_string(),
        });
    }
    let artifact = store.get(tag)?;
    let older = additions.delta_from.iter().map(|tag| store.get(tag));
    let older = older.collect::<Result<Vec<_>, _>>()?;
    let (digest, bytes) = store.manifest_bytes(tag)?;
    let manifest =
        Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    let source = artifact
        .origin
        .clone()
        .filter(|origin| origin.registry() == reference.registry() && !origin.same_repository(reference));
    let progress = Progress::new(
        &format!("publish `{tag}`"),
        artifact.size() + manifest.config.size,
    );
    let publisher = Publisher {
        repository: Arc::new(Repository::to_publish(reference, source.as_ref(), options).await?),
        source,
        store: Arc::clone(store),
        tag: tag.clone(),
        progress: progress.clone(),
        permits: Arc::new(Semaphore::new(PARALLEL_TRANSFERS)),
    };
    let (unchanged, deltas) = publisher
        .publish(&manifest, &artifact, &bytes, additions.key, &older)
        .instrument(progress.span())
        .await?;
    Ok(Published {
        digest,
        stats: progress.stats(),
        unchanged,
        deltas,
    })
}

#[derive(Clone)]
struct Publisher {
    repository: Arc<Repository>,
    /// Another repository of the same registry, from which blobs can be mounted.
    source: Option<Reference>,
    store: Arc<Store>,
    tag: Tag,
    progress: Progress,
    permits: Arc<Semaphore>,
}

impl Publisher {
    async fn publish(
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
            let (publisher, blob) = (self.clone(), blob.clone());
            tasks.spawn(async move { publisher.blob(&blob, &what).await }.in_current_span());
        }
        while let Some(outcome) = tasks.join_next().await {
            joined(outcome)?;
        }
        let referrers = ReferrerPublisher::new(&self.repository, &self.store, &artifact.digest);
        let unchanged = referrers.publish(key).await?;
        let deltas = self.deltas(artifact, &BlobRef::of(bytes), older).await?;
        if self.is_current(&artifact.digest).await? {
            return Ok((unchanged && self.progress.stats().transferred == 0, deltas));
        }
        let tag = self.repository.reference.tag().unwrap_or_default();
        self.repository
            .put_manifest(tag, MANIFEST_MEDIA_TYPE, bytes)
            .await?;
        Ok((false, deltas))
    }

    async fn deltas(
        &self,
        artifact: &Artifact,
        subject: &BlobRef,
        older: &[Artifact],
    ) -> Result<Vec<PublishedDeltas>, RegistryError> {
        let publisher = DeltaPublisher {
            repository: &self.repository,
            store: &self.store,
            progress: &self.progress,
            artifact,
            subject,
        };
        let mut all = Vec::new();
        for old in older {
            all.push(publisher.publish_from(old).await?);
        }
        Ok(all)
    }

    async fn blob(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        let _permit = self.permits.acquire().await;
        if self.has_blob(&blob.digest, what).await? {
            self.progress.skipped(blob.size);
            return Ok(());
        }
        let path = self.store.blob_path(&blob.digest);
        let progress = self.progress.clone();
        let sent = move |bytes| progress.transferred(bytes);
        match self.repository.upload_blob(&path, blob, what, sent).await {
            // The registry found another digest: a damaged store is the better explanation.
            Err(error @ HttpError::Status { status: 400, .. }) => {
                let (store, tag) = (Arc::clone(&self.store), self.tag.clone());
                joined(spawn_blocking(move || store.verify(&tag)).await)?;
                Err(error.into())
            }
            outcome => Ok(outcome?),
        }
    }

    /// True if the repository has the blob, or could mount it.
    async fn has_blob(&self, digest: &Digest, what: &str) -> Result<bool, HttpError> {
        if self.repository.has_blob(digest, what).await? {
            return Ok(true);
        }
        match &self.source {
            Some(source) => self.repository.mount_blob(source, digest, what).await,
            None => Ok(false),
        }
    }

    /// True if the reference refers to this manifest already.
    async fn is_current(&self, digest: &Digest) -> Result<bool, RegistryError> {
        match self.repository.manifest().await {
            Ok((_, found)) => Ok(found == *digest),
            // Some registries answer 403 for a missing manifest.
            Err(RegistryError::Http(HttpError::NotFound { .. } | HttpError::Denied { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
