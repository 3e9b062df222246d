//! Documents and signatures of an artifact, to and from a registry.

use std::sync::Arc;

use oci_spec::image::{Descriptor, MediaType};

use super::RegistryError;
use super::client::Repository;
use super::fetch::fetch;
use super::progress::Progress;
use super::sources::{Sources, pass_over};
use super::upload::Uploads;
use crate::digest::Digest;
use crate::manifest::{BlobRef, descriptor};
use crate::referrers::{DocumentKind, DocumentManifest, MANIFEST_MEDIA_TYPE, MAX_DOCUMENT, Referrer};
use crate::signature::{self, Payload, PrivateKey, SignatureManifest};
use crate::store::{Store, StoreError};

/// More documents and signatures than anybody makes of one artifact; others stay where they are.
const MOST: usize = 32;
/// What a signature is called in messages.
const SIGNATURE: &str = "signature";

/// Gets what belongs to the manifest `subject` into the store, where it belongs to no artifact yet: from the first place
/// that has signatures, or else from the first that has documents.
///
/// # Errors
/// When no place answers.
pub(super) async fn pull(
    sources: &Sources,
    store: &Arc<Store>,
    subject: &Digest,
) -> Result<Vec<Referrer>, RegistryError> {
    let (first, others) = sources.in_order();
    let mut others = others.peekable();
    let alone = others.peek().is_none();
    let (mut found, mut failed) = (None::<Vec<Referrer>>, None);
    for repository in std::iter::once(first).chain(others) {
        let remote = Remote {
            repository,
            store,
            subject,
        };
        match remote.pull(sources, alone).await {
            Ok(attached) if attached.iter().any(Referrer::is_signatures) => return Ok(attached),
            Ok(attached) => {
                found.get_or_insert_default();
                found = found.filter(|found| !found.is_empty()).or(Some(attached));
            }
            Err(error) if alone => return Err(error),
            Err(error) => failed = Some((repository, error)),
        }
    }
    match (found, failed) {
        (Some(found), Some((repository, error))) => pass_over(repository, error).map(|()| found),
        (None, Some((_, error))) => Err(error),
        (found, None) => Ok(found.unwrap_or_default()),
    }
}

/// What belongs to a manifest, in one repository.
struct Remote<'a> {
    repository: &'a Repository,
    store: &'a Arc<Store>,
    subject: &'a Digest,
}

impl Remote<'_> {
    /// Waits for who does not answer at once only if there is nobody else to ask.
    async fn pull(&self, sources: &Sources, alone: bool) -> Result<Vec<Referrer>, RegistryError> {
        let tag = self.signature_tag();
        let bytes = if alone {
            self.repository.find_manifest(&tag).await?
        } else {
            self.repository.try_find_manifest(&tag).await?
        };
        let mut attached = Vec::new();
        if let Some(signatures) = bytes.and_then(|bytes| SignatureManifest::from_json(&bytes).ok()) {
            attached.extend(self.keep_signatures(&signatures).await?);
        }
        let listed = self.repository.referrers(self.subject).await?;
        let documents = listed.iter().filter(|entry| is_document(entry));
        for entry in documents.take(MOST) {
            attached.extend(self.pull_document(sources, entry.digest().as_ref()).await?);
        }
        Ok(attached)
    }

    async fn pull_document(
        &self,
        sources: &Sources,
        digest: &str,
    ) -> Result<Option<Referrer>, RegistryError> {
        let Some(bytes) = self.repository.find_manifest(digest).await? else {
            return Ok(None);
        };
        // What somebody else attached in a form of his own, or to something else, is not ours to judge.
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

    /// Puts those signatures that are understood into the store, their payloads included.
    async fn keep_signatures(&self, all: &SignatureManifest) -> Result<Option<Referrer>, RegistryError> {
        let mut kept = SignatureManifest::default();
        for (payload, signature) in all.signatures().take(MOST) {
            if !self.store.has_blob(&payload.digest, payload.size)? {
                let bytes = self.repository.small_blob(&payload, SIGNATURE).await?;
                let bytes = bytes.ok_or_else(|| RegistryError::WrongPayload {
                    reference: self.repository.reference.to_string(),
                    digest: payload.digest.clone(),
                })?;
                self.store.put_document(&bytes)?;
            }
            kept.add(&payload, signature);
        }
        if kept == SignatureManifest::default() {
            return Ok(None);
        }
        let (config, manifest) = kept.to_json();
        self.store.put_document(&config)?;
        let manifest = self.store.put_document(&manifest)?;
        Ok(Some(Referrer::new(signature::MEDIA_TYPE, &manifest)))
    }

    /// (cosign, `specs/SIGNATURE_SPEC.md`, "Tag-based Discovery")
    fn signature_tag(&self) -> String {
        format!("sha256-{}.sig", self.subject.hex())
    }
}

/// Sends what belongs to an artifact.
pub(super) struct Sending<'a> {
    remote: Remote<'a>,
    uploads: &'a Uploads,
}

impl<'a> Sending<'a> {
    /// To that repository, for the manifest `subject`.
    pub(super) fn new(
        repository: &'a Repository,
        uploads: &'a Uploads,
        store: &'a Arc<Store>,
        subject: &'a Digest,
    ) -> Self {
        Self {
            remote: Remote {
                repository,
                store,
                subject,
            },
            uploads,
        }
    }

    /// Sends the artifact's documents and signatures, and one more signature by `key`. Whether all were there.
    pub(super) async fn all(&self, key: Option<&PrivateKey>) -> Result<bool, RegistryError> {
        let Remote {
            repository,
            store,
            subject,
        } = &self.remote;
        let own = store.referrers(subject)?;
        let mut unchanged = true;
        let listed = repository.referrers(subject).await?;
        for document in own.iter().filter(|attached| !attached.is_signatures()) {
            let is_it = |entry: &Descriptor| entry.digest().as_ref() == document.digest.as_str();
            if !listed.iter().any(is_it) {
                self.document(document).await?;
                unchanged = false;
            }
        }
        let there = self.remote.signatures().await?.unwrap_or_default();
        let mut all = there.clone();
        for signatures in own.iter().filter(|attached| attached.is_signatures()) {
            all.merge(&store.signatures(signatures)?.unwrap_or_default());
        }
        if let Some(key) = key {
            self.sign(key, &own, &mut all)?;
        }
        if all != there {
            self.signatures(&all).await?;
            unchanged = false;
        }
        if key.is_some() {
            let attached = self.remote.keep_signatures(&all).await?;
            store.attach(subject, attached.as_slice())?;
        }
        Ok(unchanged)
    }

    async fn document(&self, document: &Referrer) -> Result<(), RegistryError> {
        let Remote {
            repository,
            store,
            subject,
        } = &self.remote;
        for blob in store.blobs_of(document)? {
            self.blob(&blob, &document.media_type).await?;
        }
        let damaged = || StoreError::Attachment {
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
        };
        let bytes = store.document(&document.manifest())?.ok_or_else(damaged)?;
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &document.manifest(), &[]);
        entry.set_artifact_type(Some(MediaType::Other(document.media_type.clone())));
        repository.send_referrer(subject, entry, &bytes).await
    }

    /// Signs the artifact and its documents, unless the key has done so.
    fn sign(
        &self,
        key: &PrivateKey,
        own: &[Referrer],
        all: &mut SignatureManifest,
    ) -> Result<(), RegistryError> {
        let reference = &self.remote.repository.reference;
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let documents: Vec<_> = own
            .iter()
            .filter(|attached| !attached.is_signatures())
            .map(|attached| (attached.media_type.clone(), attached.digest.clone()))
            .collect();
        let payload = Payload::new(&name, self.remote.subject, &documents).to_json();
        let blob = self.remote.store.put_document(&payload)?;
        let public = key.public();
        let is_it =
            |(other, signature): (BlobRef, &str)| other == blob && public.verifies(&payload, signature);
        if !all.signatures().any(is_it) {
            let signature = key.sign(&payload).ok_or(RegistryError::Sign)?;
            all.add(&blob, &signature);
        }
        Ok(())
    }

    async fn signatures(&self, all: &SignatureManifest) -> Result<(), RegistryError> {
        let (config, manifest) = all.to_json();
        let config = self.remote.store.put_document(&config)?;
        for blob in all.blobs().unwrap_or_default().iter().chain([&config]) {
            self.blob(blob, SIGNATURE).await?;
        }
        let (repository, tag) = (self.remote.repository, self.remote.signature_tag());
        repository
            .put_manifest(&tag, MANIFEST_MEDIA_TYPE, &manifest)
            .await?;
        Ok(())
    }

    async fn blob(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        let repository = self.remote.repository;
        if repository.has(&blob.digest, what).await? {
            return Ok(());
        }
        let path = self.remote.store.blob_path(&blob.digest);
        self.uploads.blob(repository, &path, blob, what, |_| {}).await
    }
}

fn is_document(entry: &Descriptor) -> bool {
    let kind = entry.artifact_type().as_ref();
    kind.is_some_and(|kind| DocumentKind::of(kind.as_ref()).is_some())
}
