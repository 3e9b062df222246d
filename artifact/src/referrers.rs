//! Referrers of an artifact: documents about it, and its signatures.
//!
//! A document is an artifact of its own with one layer, whose `subject` is the artifact that it describes (OCI image-spec
//! 1.1, manifest.md, "Guidelines for Artifact Usage"), so that every tool that lists referrers finds it:
//!
//! ```text
//! manifest        artifactType: the document's media type, subject: the artifact's manifest
//! ├── config      application/vnd.oci.empty.v1+json: {}
//! └── layers[0]   the document
//! ```

use oci_spec::image::{ImageManifest, ImageManifestBuilder, MediaType};

use crate::digest::Digest;
use crate::manifest::{BlobRef, ManifestError, blob_ref, canonical_json, descriptor};
use crate::signature::{self, bundle};

/// The annotation that other tools take a layer's file name from (OCI image-spec 1.1, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";
pub(crate) const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The empty config (OCI image-spec 1.1, manifest.md, "Guidance for an Empty Descriptor").
pub(crate) const EMPTY: &[u8] = b"{}";
/// Maximum size of a document in bytes.
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;

/// The kind of a document about an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// The artifact's components: CycloneDX 1.6 as JSON.
    Sbom,
    /// The artifact's sources and build: an in-toto Statement v1 with SLSA provenance v1.
    Provenance,
    /// A signature: a Sigstore bundle v0.3.
    Bundle,
}

impl DocumentKind {
    pub const ALL: [Self; 3] = [Self::Sbom, Self::Provenance, Self::Bundle];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sbom => "application/vnd.cyclonedx+json",
            Self::Provenance => "application/vnd.in-toto+json",
            Self::Bundle => bundle::MEDIA_TYPE,
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Sbom => "sbom.cdx.json",
            Self::Provenance => "provenance.intoto.json",
            Self::Bundle => "bundle.sigstore.json",
        }
    }

    pub(crate) fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }
}

/// A document about an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub kind: DocumentKind,
    pub text: Vec<u8>,
}

/// A document or the signatures of an artifact in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The media type of a document, or of cosign's payloads.
    pub media_type: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Length of its manifest in bytes.
    pub(crate) size: u64,
}

impl Referrer {
    pub(crate) fn new(media_type: &str, manifest: &BlobRef) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: manifest.digest.clone(),
            size: manifest.size,
        }
    }

    pub(crate) fn manifest(&self) -> BlobRef {
        BlobRef {
            digest: self.digest.clone(),
            size: self.size,
        }
    }

    /// True for signatures of the artifact in any format.
    pub fn is_signatures(&self) -> bool {
        self.has_payloads() || self.document() == Some(DocumentKind::Bundle)
    }

    /// True for the manifest whose layers are signed payloads.
    pub(crate) fn has_payloads(&self) -> bool {
        self.media_type == signature::MEDIA_TYPE
    }

    /// The kind of the document; `None` for a manifest of signed payloads.
    pub fn document(&self) -> Option<DocumentKind> {
        DocumentKind::of(&self.media_type)
    }
}

/// The manifest of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentManifest {
    pub(crate) kind: DocumentKind,
    pub(crate) subject: Digest,
    pub(crate) config: BlobRef,
    pub(crate) text: BlobRef,
}

impl DocumentManifest {
    /// Parses a manifest; `None` if it is not that of a document, since other tools attach what they like. Without
    /// `artifactType` the config's media type counts (OCI image-spec 1.1, manifest.md).
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
        let kind = manifest
            .artifact_type()
            .as_ref()
            .unwrap_or(manifest.config().media_type())
            .to_string();
        let (Some(kind), Some(subject), [layer]) = (
            DocumentKind::of(&kind),
            manifest.subject().as_ref(),
            manifest.layers().as_slice(),
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            kind,
            subject: blob_ref(subject)?.digest,
            config: blob_ref(manifest.config())?,
            text: blob_ref(layer)?,
        }))
    }

    /// Writes the manifest of a document about `subject`.
    pub(crate) fn to_json(kind: DocumentKind, subject: &BlobRef, text: &BlobRef) -> Vec<u8> {
        let config = BlobRef {
            digest: Digest::of(EMPTY),
            size: EMPTY.len() as u64,
        };
        let layer = descriptor(kind.media_type(), text, &[(TITLE, kind.file_name())]);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(kind.media_type())
            .config(descriptor(EMPTY_MEDIA_TYPE, &config, &[]))
            .layers(vec![layer])
            .subject(descriptor(MANIFEST_MEDIA_TYPE, subject, &[]))
            .build()
            .expect("all required fields are set above");
        canonical_json(&manifest)
    }

    pub(crate) fn blobs(&self) -> [&BlobRef; 2] {
        [&self.config, &self.text]
    }
}

#[cfg(test)]
mod tests {
    use super::{DocumentKind, DocumentManifest};
    use crate::digest::Digest;
    use crate::manifest::BlobRef;

    fn blob(text: &str) -> BlobRef {
        BlobRef {
            digest: Digest::of(text.as_bytes()),
            size: text.len() as u64,
        }
    }

    #[test]
    fn documents_name_their_subject() {
        let (subject, text) = (blob("subject"), blob("text"));
        let bytes = DocumentManifest::to_json(DocumentKind::Sbom, &subject, &text);
        let read = DocumentManifest::from_json(&bytes).unwrap().unwrap();
        assert_eq!((read.kind, &read.subject), (DocumentKind::Sbom, &subject.digest));
        assert_eq!(read.blobs(), [&blob("{}"), &text]);
        assert_eq!(
            bytes,
            DocumentManifest::to_json(DocumentKind::Sbom, &subject, &text)
        );
    }

    #[test]
    fn other_manifests_are_ignored() {
        let bytes = DocumentManifest::to_json(DocumentKind::Provenance, &blob("subject"), &blob("text"));
        let text = String::from_utf8(bytes).unwrap();
        let other = text.replace("vnd.in-toto+json", "vnd.other+json");
        assert_eq!(DocumentManifest::from_json(other.as_bytes()).unwrap(), None);
        let alone = text.replace("\"subject\"", "\"annotations.other\"");
        assert_eq!(DocumentManifest::from_json(alone.as_bytes()).unwrap(), None);
        assert!(DocumentManifest::from_json(b"[]").is_err());
    }
}
