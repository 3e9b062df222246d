//! Transferring the documents and signatures of an artifact.

use std::iter::once;
use std::sync::Arc;

use oci_spec::image::{Descriptor, MediaType};

use super::RegistryError;
use super::fetch::fetch;
use super::progress::Progress;
use super::repository::Repository;
use super::sources::{Sources, pass_over};
use crate::digest::Digest;
use crate::manifest::{BlobRef, descriptor};
use crate::referrers::{
    DocumentKind, DocumentManifest, EMPTY_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, MAX_DOCUMENT, Referrer,
};
use crate::signature::{self, Payload, PrivateKey, SignatureManifest};
use crate::store::{Store, StoreError};

/// How many documents, and how many signatures, of an artifact are read at most.
const MAX_REFERRERS: usize = 32;
/// A signature in error messages.
const SIGNATURE: &str = "signature";

/// Downloads the signatures and documents of the manifest `subject` into the store, without assigning them to an artifact:
/// from the first repository that has signatures, or else from the first that has documents.
///
/// # Errors
/// If no repository answers.
pub(super) async fn pull(
    sources: &Sources,
    store: &Arc<Store>,
    subject: &Digest,
) -> Result<Vec<Referrer>, RegistryError> {
    let (first, others) = sources.in_order();
    let mut others = others.peekable();
    let is_only = others.peek().is_none();
    let (mut found, mut failed) = (None::<Vec<Referrer>>, None);
    for repository in once(first).chain(others) {
        let remote = RemoteReferrers {
            repository,
            store,
            subject,
        };
        match remote.pull(sources, is_only).await {
            Ok(referrers) if referrers.iter().any(Referrer::is_signatures) => return Ok(referrers),
            Ok(referrers) => {
                found.get_or_insert_default();
                found = found.filter(|found| !found.is_empty()).or(Some(referrers));
            }
            Err(error) if is_only => return Err(error),
            Err(error) => failed = Some((repository, error)),
        }
    }
    match (found, failed) {
        (Some(found), Some((repository, error))) => pass_over(repository, error).map(|()| found),
        (None, Some((_, error))) => Err(error),
        (found, None) => Ok(found.unwrap_or_default()),
    }
}

/// The referrers of a manifest in one repository.
struct RemoteReferrers<'a> {
    repository: &'a Repository,
    store: &'a Arc<Store>,
    subject: &'a Digest,
}

impl RemoteReferrers<'_> {
    /// The first request is retried only if there is no other repository to ask.
    async fn pull(&self, sources: &Sources, is_only: bool) -> Result<Vec<Referrer>, RegistryError> {
        let tag = self.signature_tag();
        let bytes = if is_only {
            self.repository.find_manifest(&tag).await?
        } else {
            self.repository.try_find_manifest(&tag).await?
        };
        let mut referrers = Vec::new();
        if let Some(signatures) = bytes.and_then(|bytes| SignatureManifest::from_json(&bytes).ok()) {
            referrers.extend(self.store_signatures(&signatures).await?);
        }
        let listed = self.repository.referrers(self.subject).await?;
        let documents = listed.iter().filter(|entry| is_document(entry));
        for entry in documents.take(MAX_REFERRERS) {
            referrers.extend(self.pull_document(sources, entry.digest().as_ref()).await?);
        }
        Ok(referrers)
    }

    async fn pull_document(
        &self,
        sources: &Sources,
        digest: &str,
    ) -> Result<Option<Referrer>, RegistryError> {
        let Some(bytes) = self.repository.find_manifest(digest).await? else {
            return Ok(None);
        };
        // Other tools may attach documents in other forms; these are ignored.
        let manifest = DocumentManifest::from_json(&bytes).ok().flatten();
        let Some(manifest) = manifest.filter(|manifest| manifest.subject == *self.subject) else {
            return Ok(None);
        };
        let what = manifest.kind.media_type();
        for blob in manifest.blobs() {
            if blob.size > MAX_DOCUMENT {
                return Err(RegistryError::TooLarge {
                    reference: self.repository.reference.to_string(),
                    what: "a document",
                    limit: MAX_DOCUMENT,
                });
            }
            let progress = Progress::new(&format!("fetch {what}"), blob.size);
            fetch(sources, self.store, blob, what, &progress).await?;
        }
        let blob = self.store.put_document(&bytes)?;
        Ok(Some(Referrer::new(what, &blob)))
    }

    async fn signatures(&self) -> Result<Option<SignatureManifest>, RegistryError> {
        let bytes = self.repository.find_manifest(&self.signature_tag()).await?;
        Ok(bytes.and_then(|bytes| SignatureManifest::from_json(&bytes).ok()))
    }

    /// Stores signatures and their payloads.
    async fn store_signatures(&self, all: &SignatureManifest) -> Result<Option<Referrer>, RegistryError> {
        let mut stored = SignatureManifest::default();
        for (payload, signature) in all.signatures().take(MAX_REFERRERS) {
            if !self.store.has_blob(&payload.digest, payload.size)? {
                let bytes = self.repository.small_blob(&payload, SIGNATURE).await?;
                let bytes = bytes.ok_or_else(|| RegistryError::WrongPayload {
                    reference: self.repository.reference.to_string(),
                    digest: payload.digest.clone(),
                })?;
                self.store.put_document(&bytes)?;
            }
            stored.add(&payload, signature);
        }
        if stored == SignatureManifest::default() {
            return Ok(None);
        }
        let (config, manifest) = stored.to_json();
        self.store.put_document(&config)?;
        let manifest = self.store.put_document(&manifest)?;
        Ok(Some(Referrer::new(signature::MEDIA_TYPE, &manifest)))
    }

    /// The tag of the signatures (cosign, `specs/SIGNATURE_SPEC.md`, "Tag-based Discovery").
    fn signature_tag(&self) -> String {
        format!("sha256-{}.sig", self.subject.hex())
    }
}

/// Publishes the documents and signatures of an artifact.
pub(super) struct ReferrerPublisher<'a> {
    remote: RemoteReferrers<'a>,
}

impl<'a> ReferrerPublisher<'a> {
    pub(super) fn new(repository: &'a Repository, store: &'a Arc<Store>, subject: &'a Digest) -> Self {
        Self {
            remote: RemoteReferrers {
                repository,
                store,
                subject,
            },
        }
    }

    /// Publishes all documents and signatures in the store, and a new signature by `key`. True if all were published before.
    pub(super) async fn publish(&self, key: Option<&PrivateKey>) -> Result<bool, RegistryError> {
        let RemoteReferrers {
            repository,
            store,
            subject,
        } = &self.remote;
        let own = store.referrers(subject)?;
        let mut is_unchanged = true;
        let listed = repository.referrers(subject).await?;
        for document in own.iter().filter(|referrer| !referrer.has_payloads()) {
            let is_same = |entry: &Descriptor| entry.digest().as_ref() == document.digest.as_str();
            if !listed.iter().any(is_same) {
                self.publish_document(document).await?;
                is_unchanged = false;
            }
        }
        let published = self.remote.signatures().await?.unwrap_or_default();
        let mut all = published.clone();
        for signatures in own.iter().filter(|referrer| referrer.has_payloads()) {
            all.merge(&store.signatures(signatures)?.unwrap_or_default());
        }
        if let Some(key) = key {
            self.sign(key, &own, &mut all)?;
        }
        if all != published {
            self.publish_signatures(&all).await?;
            is_unchanged = false;
        }
        if key.is_some() {
            let stored = self.remote.store_signatures(&all).await?;
            store.attach(subject, stored.as_slice())?;
        }
        Ok(is_unchanged)
    }

    async fn publish_document(&self, document: &Referrer) -> Result<(), RegistryError> {
        let RemoteReferrers {
            repository,
            store,
            subject,
        } = &self.remote;
        for blob in store.blobs_of(document)? {
            self.upload(&blob, &document.media_type).await?;
        }
        let damaged = || StoreError::Attachment {
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
        };
        let bytes = store.document(&document.manifest())?.ok_or_else(damaged)?;
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &document.manifest(), &[]);
        entry.set_artifact_type(Some(MediaType::Other(document.media_type.clone())));
        repository.put_referrer(subject, entry, &bytes).await
    }

    /// Signs the artifact and its documents, unless they have a signature by `key`.
    fn sign(
        &self,
        key: &PrivateKey,
        own: &[Referrer],
        all: &mut SignatureManifest,
    ) -> Result<(), RegistryError> {
        let reference = &self.remote.repository.reference;
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let payload = Payload::new(&name, self.remote.subject, &documents(own)).to_json();
        let blob = self.remote.store.put_document(&payload)?;
        let public = key.public();
        let is_same =
            |(other, signature): (BlobRef, &str)| other == blob && public.verifies(&payload, signature);
        if !all.signatures().any(is_same) {
            let signature = key.sign(&payload).ok_or(RegistryError::Sign)?;
            all.add(&blob, &signature);
        }
        Ok(())
    }

    async fn publish_signatures(&self, all: &SignatureManifest) -> Result<(), RegistryError> {
        let (config, manifest) = all.to_json();
        let config = self.remote.store.put_document(&config)?;
        for blob in all.blobs().unwrap_or_default().iter().chain([&config]) {
            self.upload(blob, SIGNATURE).await?;
        }
        let (repository, tag) = (self.remote.repository, self.remote.signature_tag());
        repository
            .put_manifest(&tag, MANIFEST_MEDIA_TYPE, &manifest)
            .await?;
        Ok(())
    }

    async fn upload(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        let repository = self.remote.repository;
        if !repository.has_blob(&blob.digest, what).await? {
            let path = self.remote.store.blob_path(&blob.digest);
            repository.upload_blob(&path, blob, what, |_| {}).await?;
        }
        Ok(())
    }
}

/// Documents by media type and digest.
fn documents(own: &[Referrer]) -> Vec<(String, Digest)> {
    let documents = own.iter().filter(|referrer| !referrer.is_signatures());
    documents
        .map(|referrer| (referrer.media_type.clone(), referrer.digest.clone()))
        .collect()
}

/// True if the entry may be a document. Tools that maintain the list themselves may write no type or that of the config; then
/// the manifest tells.
fn is_document(entry: &Descriptor) -> bool {
    let kind = entry.artifact_type().as_ref().map(AsRef::<str>::as_ref);
    kind.is_none_or(|kind| kind == EMPTY_MEDIA_TYPE || DocumentKind::of(kind).is_some())
}
