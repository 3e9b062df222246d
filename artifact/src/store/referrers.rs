//! Referrers of artifacts in the store: documents and signatures.
//!
//! `index.json` lists their manifests without a tag, with the digest of the artifact's manifest in the annotation
//! `dev.parbake.subject`. They live as long as their artifact has a tag: orphans are dropped whenever the index is written,
//! and swept.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, MediaType};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::{BlobRef, ManifestError, blob_ref, descriptor};
use crate::referrers::{Document, DocumentKind, DocumentManifest, EMPTY, MANIFEST_MEDIA_TYPE, Referrer};
use crate::signature::{MAX_PAYLOAD, Payload, PublicKey, SignatureManifest, VerifiedSignature, bundle};
use crate::tag::Tag;

/// The annotation with the digest of the manifest that a referrer belongs to.
const SUBJECT: &str = "dev.parbake.subject";

impl Store {
    /// The referrers of the artifact whose manifest has the digest `subject`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, StoreError> {
        let index = self.read_index()?;
        let entries = index.manifests().iter();
        let own = entries.filter(|entry| subject_of(entry).as_ref() == Some(subject));
        Ok(own.filter_map(referrer_of).collect())
    }

    /// Attaches documents to the artifact `tag`, in place of those of the same kinds.
    ///
    /// # Errors
    /// The artifact or the store's files cannot be read or written.
    pub fn attach_documents(&self, tag: &Tag, documents: &[Document]) -> Result<(), StoreError> {
        let subject = self.reference(tag)?;
        let referrers = self.put_documents(&subject, documents)?;
        self.attach(&subject.digest, &referrers)
    }

    /// The texts of all documents of one kind about an artifact.
    ///
    /// # Errors
    /// [`StoreError::Attachment`] if one of them is damaged.
    pub fn documents(&self, subject: &Digest, kind: DocumentKind) -> Result<Vec<Vec<u8>>, StoreError> {
        let own = self.referrers(subject)?.into_iter();
        let texts = own.filter(|referrer| referrer.document() == Some(kind));
        texts
            .map(|referrer| self.document_text(subject, &referrer))
            .collect()
    }

    /// The first valid signature of an artifact by one of `keys`.
    ///
    /// # Errors
    /// The store's files cannot be read.
    pub fn find_signature(
        &self,
        subject: &Digest,
        keys: &[PublicKey],
    ) -> Result<Option<VerifiedSignature>, StoreError> {
        self.find_signature_among(subject, &self.referrers(subject)?, keys)
    }

    /// Like [`Store::find_signature`], among `referrers`, which need not be attached yet.
    pub(crate) fn find_signature_among(
        &self,
        subject: &Digest,
        referrers: &[Referrer],
        keys: &[PublicKey],
    ) -> Result<Option<VerifiedSignature>, StoreError> {
        for signatures in referrers.iter().filter(|referrer| referrer.has_payloads()) {
            let Some(manifest) = self.signatures(signatures)? else {
                continue;
            };
            for (blob, signature) in manifest.signatures() {
                let Some(bytes) = self
                    .document(&blob)?
                    .filter(|bytes| bytes.len() as u64 <= MAX_PAYLOAD)
                else {
                    continue;
                };
                let signer = keys.iter().position(|key| key.verifies(&bytes, signature));
                if let (Some(key), Some(payload)) = (signer, Payload::for_manifest(&bytes, subject)) {
                    let documents = payload.documents();
                    return Ok(Some(VerifiedSignature { key, documents }));
                }
            }
        }
        let bundles = referrers
            .iter()
            .filter(|referrer| referrer.document() == Some(DocumentKind::Bundle));
        for referrer in bundles {
            let text = self.document_text(subject, referrer)?;
            if let Some(key) = keys.iter().position(|key| bundle::verifies(&text, key, subject)) {
                let documents = Vec::new();
                return Ok(Some(VerifiedSignature { key, documents }));
            }
        }
        Ok(None)
    }

    /// The manifest of an artifact's signatures; `None` if it is damaged.
    pub(crate) fn signatures(&self, referrer: &Referrer) -> Result<Option<SignatureManifest>, StoreError> {
        let bytes = self.document(&referrer.manifest())?;
        Ok(bytes.and_then(|bytes| SignatureManifest::from_json(&bytes).ok()))
    }

    /// Stores documents about the manifest `subject`.
    pub(super) fn put_documents(
        &self,
        subject: &BlobRef,
        documents: &[Document],
    ) -> Result<Vec<Referrer>, StoreError> {
        let put = |document: &Document| {
            self.put_document(EMPTY)?;
            let text = self.put_document(&document.text)?;
            let manifest = DocumentManifest::to_json(document.kind, subject, &text);
            let manifest = self.put_document(&manifest)?;
            Ok(Referrer::new(document.kind.media_type(), &manifest))
        };
        documents.iter().map(put).collect()
    }

    /// Attaches referrers in the store to an artifact with a tag, in place of those of the same types.
    pub(crate) fn attach(&self, subject: &Digest, referrers: &[Referrer]) -> Result<(), StoreError> {
        self.change_index(|manifests| {
            attach(manifests, subject, referrers);
            Ok(())
        })
    }

    /// All blobs of all referrers. A manifest that cannot be read has none.
    pub(super) fn referrer_blobs(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut blobs = BTreeSet::new();
        let index = self.read_index()?;
        for referrer in index.manifests().iter().filter_map(referrer_of) {
            blobs.extend(self.blobs_of(&referrer)?.into_iter().map(|blob| blob.digest));
            blobs.insert(referrer.digest);
        }
        Ok(blobs)
    }

    /// The blobs that a referrer's manifest lists.
    pub(crate) fn blobs_of(&self, referrer: &Referrer) -> Result<Vec<BlobRef>, StoreError> {
        let bytes = self.document(&referrer.manifest())?.unwrap_or_default();
        let blobs = |bytes: &[u8]| -> Result<Vec<BlobRef>, ManifestError> {
            let manifest: oci_spec::image::ImageManifest =
                serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
            let all = std::iter::once(manifest.config()).chain(manifest.layers());
            Ok(all.map(blob_ref).collect::<Result<_, _>>()?)
        };
        Ok(blobs(&bytes).unwrap_or_default())
    }

    /// The referrers of an artifact, each with its blobs, its manifest included.
    pub(super) fn referrers_with_blobs(
        &self,
        subject: &Digest,
    ) -> Result<Vec<(Referrer, Vec<BlobRef>)>, StoreError> {
        let with_blobs = |referrer: Referrer| {
            let mut blobs = self.blobs_of(&referrer)?;
            blobs.push(referrer.manifest());
            Ok((referrer, blobs))
        };
        self.referrers(subject)?.into_iter().map(with_blobs).collect()
    }

    fn document_text(&self, subject: &Digest, referrer: &Referrer) -> Result<Vec<u8>, StoreError> {
        let manifest = self.document(&referrer.manifest())?;
        let manifest = manifest.and_then(|bytes| DocumentManifest::from_json(&bytes).ok().flatten());
        let text = match manifest.filter(|manifest| manifest.subject == *subject) {
            Some(manifest) => self.document(&manifest.text)?,
            None => None,
        };
        text.ok_or_else(|| StoreError::Attachment {
            media_type: referrer.media_type.clone(),
            digest: referrer.digest.clone(),
        })
    }
}

/// Adds referrers in place of others of the same types.
pub(super) fn attach(manifests: &mut Vec<Descriptor>, subject: &Digest, referrers: &[Referrer]) {
    manifests.retain(|entry| {
        let replaced = referrers.iter().any(|new| {
            let kind = entry.artifact_type().as_ref().map(ToString::to_string);
            kind.as_deref() == Some(new.media_type.as_str())
        });
        subject_of(entry).as_ref() != Some(subject) || !replaced
    });
    manifests.extend(referrers.iter().map(|referrer| {
        let annotations = [(SUBJECT, subject.as_str())];
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &referrer.manifest(), &annotations);
        entry.set_artifact_type(Some(MediaType::Other(referrer.media_type.clone())));
        entry
    }));
}

/// Removes referrers of manifests that are not listed.
pub(super) fn without_orphans(mut manifests: Vec<Descriptor>) -> Vec<Descriptor> {
    let is_own = |entry: &Descriptor| subject_of(entry).is_none();
    let subjects: BTreeSet<Digest> = manifests
        .iter()
        .filter(|entry| is_own(entry))
        .filter_map(|entry| Some(blob_ref(entry).ok()?.digest))
        .collect();
    manifests.retain(|entry| subject_of(entry).is_none_or(|subject| subjects.contains(&subject)));
    // Those with a tag first, for people who read the file.
    manifests.sort_by_key(|entry| !is_own(entry));
    manifests
}

fn subject_of(entry: &Descriptor) -> Option<Digest> {
    entry.annotations().as_ref()?.get(SUBJECT)?.parse().ok()
}

fn referrer_of(entry: &Descriptor) -> Option<Referrer> {
    subject_of(entry)?;
    let media_type = entry.artifact_type().as_ref()?.to_string();
    Some(Referrer::new(&media_type, &blob_ref(entry).ok()?))
}
