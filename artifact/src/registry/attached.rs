//! Documents and signatures of an artifact, to and from a registry.

use std::sync::Arc;

use oci_spec::image::MediaType;

use super::client::Repository;
use super::fetch::fetch;
use super::progress::Progress;
use super::{RegistryError, SIGN};
use crate::attached::{Attached, DocumentKind, DocumentManifest, MANIFEST_MEDIA_TYPE, MAX_DOCUMENT};
use crate::digest::Digest;
use crate::manifest::{BlobRef, descriptor};
use crate::signature::{self, Payload, PrivateKey, SignatureManifest};
use crate::store::Store;

/// More documents and signatures than anybody makes of one artifact; others stay where they are.
const MOST: usize = 32;

/// What belongs to the manifest with the digest `subject`, in a repository and in the store.
pub(super) struct Attachments<'a> {
    pub(super) repository: &'a Repository,
    pub(super) store: &'a Arc<Store>,
    pub(super) subject: &'a Digest,
}

impl Attachments<'_> {
    /// Gets them into the store; they belong to no artifact there yet.
    pub(super) async fn pull(&self) -> Result<Vec<Attached>, RegistryError> {
        let mut attached = Vec::new();
        if let Some(signatures) = self.remote_signatures().await? {
            attached.extend(self.keep_signatures(&signatures).await?);
        }
        let listed = self.repository.referrers(self.subject).await?;
        let kind = |kind: &Option<MediaType>| DocumentKind::of(kind.as_ref()?.as_ref());
        let documents = listed
            .iter()
            .filter(|entry| kind(entry.artifact_type()).is_some());
        for entry in documents.take(MOST) {
            attached.extend(self.pull_document(entry.digest().as_ref()).await?);
        }
        Ok(attached)
    }

    async fn pull_document(&self, digest: &str) -> Result<Option<Attached>, RegistryError> {
        let Some(bytes) = self.repository.find_manifest(digest).await? else {
            return Ok(None);
        };
        // What somebody else attached in a form of his own, or to something else, is not ours to judge.
        let Some(manifest) = DocumentManifest::from_json(&bytes).ok().flatten() else {
            return Ok(None);
        };
        if manifest.subject != *self.subject {
            return Ok(None);
        }
        for blob in manifest.blobs() {
            self.fetch(blob, manifest.kind.media_type()).await?;
        }
        let blob = self.store.put_document(&bytes)?;
        Ok(Some(Attached::new(manifest.kind.media_type(), &blob)))
    }

    /// Sends the artifact's documents and signatures, and one more signature by `key`. Whether all were there.
    pub(super) async fn publish(&self, key: Option<&PrivateKey>) -> Result<bool, RegistryError> {
        let own = self.store.attached(self.subject)?;
        let mut unchanged = true;
        let listed = self.repository.referrers(self.subject).await?;
        for document in own.iter().filter(|attached| !attached.is_signatures()) {
            let is_there =
                |entry: &oci_spec::image::Descriptor| entry.digest().as_ref() == document.digest.as_str();
            if !listed.iter().any(is_there) {
                self.publish_document(document).await?;
                unchanged = false;
            }
        }
        let there = self.remote_signatures().await?.unwrap_or_default();
        let mut all = there.clone();
        for signatures in own.iter().filter(|attached| attached.is_signatures()) {
            all.merge(&self.store.signatures(signatures)?.unwrap_or_default());
        }
        if let Some(key) = key {
            self.sign(key, &own, &mut all)?;
        }
        if all != there {
            self.publish_signatures(&all).await?;
            unchanged = false;
        }
        if key.is_some() {
            let attached = self.keep_signatures(&all).await?;
            self.store.attach(self.subject, attached.as_slice())?;
        }
        Ok(unchanged)
    }

    async fn publish_document(&self, document: &Attached) -> Result<(), RegistryError> {
        for blob in self.store.blobs_of(document)? {
            self.send(&blob, &document.media_type).await?;
        }
        let damaged = || crate::store::StoreError::Attachment {
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
        };
        let bytes = self.store.document(&document.manifest())?.ok_or_else(damaged)?;
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &document.manifest(), &[]);
        entry.set_artifact_type(Some(MediaType::Other(document.media_type.clone())));
        self.repository.send_referrer(self.subject, entry, &bytes).await
    }

    /// Signs the artifact and its documents, unless the key has done so.
    fn sign(
        &self,
        key: &PrivateKey,
        own: &[Attached],
        all: &mut SignatureManifest,
    ) -> Result<(), RegistryError> {
        let reference = &self.repository.reference;
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let documents: Vec<_> = own
            .iter()
            .filter(|attached| !attached.is_signatures())
            .map(|attached| (attached.media_type.clone(), attached.digest.clone()))
            .collect();
        let payload = Payload::new(&name, self.subject, &documents).to_json();
        let blob = self.store.put_document(&payload)?;
        let public = key.public();
        let mut signatures = all.signatures();
        if signatures.any(|(other, signature)| other == blob && public.verifies(&payload, signature)) {
            return Ok(());
        }
        drop(signatures);
        let signature = key.sign(&payload).ok_or(RegistryError::Sign)?;
        all.add(&blob, &signature);
        Ok(())
    }

    async fn publish_signatures(&self, all: &SignatureManifest) -> Result<(), RegistryError> {
        let (config, manifest) = all.to_json();
        let config = self.store.put_document(&config)?;
        for blob in all.blobs().unwrap_or_default().iter().chain([&config]) {
            self.send(blob, SIGN).await?;
        }
        let tag = self.signature_tag();
        self.repository
            .put_manifest(&tag, MANIFEST_MEDIA_TYPE, &manifest)
            .await?;
        Ok(())
    }

    async fn remote_signatures(&self) -> Result<Option<SignatureManifest>, RegistryError> {
        let bytes = self.repository.find_manifest(&self.signature_tag()).await?;
        Ok(bytes.and_then(|bytes| SignatureManifest::from_json(&bytes).ok()))
    }

    /// Puts those signatures that are understood into the store, their payloads included.
    async fn keep_signatures(&self, all: &SignatureManifest) -> Result<Option<Attached>, RegistryError> {
        let mut kept = SignatureManifest::default();
        for (payload, signature) in all.signatures().take(MOST) {
            self.fetch(&payload, SIGN).await?;
            kept.add(&payload, signature);
        }
        if kept == SignatureManifest::default() {
            return Ok(None);
        }
        let (config, manifest) = kept.to_json();
        self.store.put_document(&config)?;
        let manifest = self.store.put_document(&manifest)?;
        Ok(Some(Attached::new(signature::MEDIA_TYPE, &manifest)))
    }

    /// (cosign, `specs/SIGNATURE_SPEC.md`, "Tag-based Discovery")
    fn signature_tag(&self) -> String {
        format!("sha256-{}.sig", self.subject.hex())
    }

    async fn fetch(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        if blob.size > MAX_DOCUMENT {
            return Err(RegistryError::TooLarge {
                reference: self.repository.reference.to_string(),
                what: "a document",
                limit: MAX_DOCUMENT,
            });
        }
        let progress = Progress::new(&format!("fetch the {what}"), blob.size);
        fetch(self.repository, self.store, blob, what, &progress).await
    }

    async fn send(&self, blob: &BlobRef, what: &str) -> Result<(), RegistryError> {
        if self.repository.has(&blob.digest, what).await? {
            return Ok(());
        }
        let path = self.store.blob_path(&blob.digest);
        self.repository.send(&path, blob, what, |_| {}).await
    }
}
