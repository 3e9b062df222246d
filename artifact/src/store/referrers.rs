//! What is attached to artifacts in the store: documents and signatures.
//!
//! Their manifests are in `index.json` beside those with a tag, each with the digest of its artifact's manifest in the
//! annotation `dev.parbake.subject`. They come and go with it: what refers to no artifact with a tag is left out when
//! the index is written, and swept.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, MediaType};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::manifest::{BlobRef, ManifestError, blob_ref, descriptor};
use crate::referrers::{Document, DocumentKind, DocumentManifest, EMPTY, MANIFEST_MEDIA_TYPE, Referrer};
use crate::signature::{MAX_PAYLOAD, Payload, PublicKey, SignatureManifest, VerifiedSignature};
use crate::tag::Tag;

/// The annotation that says to which manifest something is attached.
const SUBJECT: &str = "dev.parbake.subject";

impl Store {
    /// What is attached to the artifact whose manifest has the digest `subject`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, StoreError> {
        let index = self.read_index()?;
        let entries = index.manifests().iter();
        let own = entries.filter(|entry| subject_of(entry).as_ref() == Some(subject));
        Ok(own.filter_map(attached).collect())
    }

    /// Attaches documents to an artifact that has a tag; those of the same kind that it had are let go.
    ///
    /// # Errors
    /// When the artifact or the store's files cannot be read or written.
    pub fn attach_documents(&self, tag: &Tag, documents: &[Document]) -> Result<(), StoreError> {
        let subject = self.reference(tag)?;
        let attached = self.put_documents(&subject, documents)?;
        self.attach(&subject.digest, &attached)
    }

    /// The texts of all documents of one kind about an artifact.
    ///
    /// # Errors
    /// [`StoreError::Attachment`] when one of them is not whole.
    pub fn documents(&self, subject: &Digest, kind: DocumentKind) -> Result<Vec<Vec<u8>>, StoreError> {
        let own = self.referrers(subject)?.into_iter();
        let texts = own.filter(|attached| attached.document() == Some(kind));
        texts
            .map(|attached| self.document_text(subject, &attached))
            .collect()
    }

    /// The first good signature of an artifact by one of `keys`; `None` when it has none.
    ///
    /// # Errors
    /// When the store's files cannot be read.
    pub fn find_signature(
        &self,
        subject: &Digest,
        keys: &[PublicKey],
    ) -> Result<Option<VerifiedSignature>, StoreError> {
        self.find_signature_among(subject, &self.referrers(subject)?, keys)
    }

    /// The same, among what is not attached yet.
    pub(crate) fn find_signature_among(
        &self,
        subject: &Digest,
        attached: &[Referrer],
        keys: &[PublicKey],
    ) -> Result<Option<VerifiedSignature>, StoreError> {
        for signatures in attached.iter().filter(|attached| attached.is_signatures()) {
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
                    let documents = payload.attached();
                    return Ok(Some(VerifiedSignature { key, documents }));
                }
            }
        }
        Ok(None)
    }

    /// The manifest of an artifact's signatures; `None` when it is not whole.
    pub(crate) fn signatures(&self, attached: &Referrer) -> Result<Option<SignatureManifest>, StoreError> {
        let bytes = self.document(&attached.manifest())?;
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

    /// Attaches what is in the store to an artifact that has a tag, in place of what it had of the same types.
    pub(crate) fn attach(&self, subject: &Digest, attached: &[Referrer]) -> Result<(), StoreError> {
        self.change_index(|manifests| {
            attach(manifests, subject, attached);
            Ok(())
        })
    }

    /// Every blob of what is attached to artifacts. What cannot be read has none.
    pub(super) fn attached_blobs(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut blobs = BTreeSet::new();
        let index = self.read_index()?;
        for attached in index.manifests().iter().filter_map(attached) {
            blobs.extend(self.blobs_of(&attached)?.into_iter().map(|blob| blob.digest));
            blobs.insert(attached.digest);
        }
        Ok(blobs)
    }

    /// The blobs that an attached manifest refers to.
    pub(crate) fn blobs_of(&self, attached: &Referrer) -> Result<Vec<BlobRef>, StoreError> {
        let bytes = self.document(&attached.manifest())?.unwrap_or_default();
        let blobs = |bytes: &[u8]| -> Result<Vec<BlobRef>, ManifestError> {
            let manifest: oci_spec::image::ImageManifest =
                serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
            let all = std::iter::once(manifest.config()).chain(manifest.layers());
            Ok(all.map(blob_ref).collect::<Result<_, _>>()?)
        };
        Ok(blobs(&bytes).unwrap_or_default())
    }

    /// What is attached to an artifact, each with the blobs that it consists of.
    pub(super) fn attached_with_blobs(
        &self,
        subject: &Digest,
    ) -> Result<Vec<(Referrer, Vec<BlobRef>)>, StoreError> {
        let with_blobs = |attached: Referrer| {
            let mut blobs = self.blobs_of(&attached)?;
            blobs.push(attached.manifest());
            Ok((attached, blobs))
        };
        self.referrers(subject)?.into_iter().map(with_blobs).collect()
    }

    fn document_text(&self, subject: &Digest, attached: &Referrer) -> Result<Vec<u8>, StoreError> {
        let manifest = self.document(&attached.manifest())?;
        let manifest = manifest.and_then(|bytes| DocumentManifest::from_json(&bytes).ok().flatten());
        let text = match manifest.filter(|manifest| manifest.subject == *subject) {
            Some(manifest) => self.document(&manifest.text)?,
            None => None,
        };
        text.ok_or_else(|| StoreError::Attachment {
            media_type: attached.media_type.clone(),
            digest: attached.digest.clone(),
        })
    }
}

/// Adds attachments in place of others of the same types.
pub(super) fn attach(manifests: &mut Vec<Descriptor>, subject: &Digest, attached: &[Referrer]) {
    manifests.retain(|entry| {
        let replaced = attached.iter().any(|new| {
            let kind = entry.artifact_type().as_ref().map(ToString::to_string);
            kind.as_deref() == Some(new.media_type.as_str())
        });
        subject_of(entry).as_ref() != Some(subject) || !replaced
    });
    manifests.extend(attached.iter().map(|attached| {
        let annotations = [(SUBJECT, subject.as_str())];
        let mut entry = descriptor(MANIFEST_MEDIA_TYPE, &attached.manifest(), &annotations);
        entry.set_artifact_type(Some(MediaType::Other(attached.media_type.clone())));
        entry
    }));
}

/// The manifests without what is attached to others that are not among them.
pub(super) fn without_orphans(mut manifests: Vec<Descriptor>) -> Vec<Descriptor> {
    let is_own = |entry: &Descriptor| subject_of(entry).is_none();
    let subjects: BTreeSet<Digest> = manifests
        .iter()
        .filter(|entry| is_own(entry))
        .filter_map(|entry| Some(blob_ref(entry).ok()?.digest))
        .collect();
    manifests.retain(|entry| subject_of(entry).is_none_or(|subject| subjects.contains(&subject)));
    // Those with a tag first: whoever looks at the file looks for them.
    manifests.sort_by_key(|entry| !is_own(entry));
    manifests
}

fn subject_of(entry: &Descriptor) -> Option<Digest> {
    entry.annotations().as_ref()?.get(SUBJECT)?.parse().ok()
}

fn attached(entry: &Descriptor) -> Option<Referrer> {
    subject_of(entry)?;
    let media_type = entry.artifact_type().as_ref()?.to_string();
    Some(Referrer::new(&media_type, &blob_ref(entry).ok()?))
}
