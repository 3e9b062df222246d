//! The manifest of all signatures of an artifact (cosign, `specs/SIGNATURE_SPEC.md`, "OCI Image Manifest V1").

use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};
use serde_json::json;

use crate::digest::Digest;
use crate::manifest::{BlobRef, ManifestError, blob_ref, canonical_json, descriptor};

/// Media type of a signed payload.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Maximum size of a payload in bytes.
pub(crate) const MAX_PAYLOAD: u64 = 64 << 10;
/// The annotation of a payload's descriptor that holds its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// All signatures of an artifact, including those of unknown kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SignatureManifest {
    layers: Vec<Descriptor>,
}

impl SignatureManifest {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
        Ok(Self {
            layers: manifest.layers().clone(),
        })
    }

    /// Writes config and manifest. The config is an empty image config, which other tools expect.
    pub(crate) fn to_json(&self) -> (Vec<u8>, Vec<u8>) {
        let ids: Vec<_> = self
            .layers
            .iter()
            .map(|layer| layer.digest().to_string())
            .collect();
        let config = canonical_json(&json!({
            "architecture": "",
            "config": {},
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": ids},
        }));
        let blob = BlobRef {
            digest: Digest::of(&config),
            size: config.len() as u64,
        };
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(CONFIG_MEDIA_TYPE, &blob, &[]))
            .layers(self.layers.clone())
            .build()
            .expect("all required fields are set above");
        (config, canonical_json(&manifest))
    }

    /// Payloads and their signatures, except those of unknown kinds.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (BlobRef, &str)> {
        self.layers.iter().filter_map(|layer| {
            let signature = layer.annotations().as_ref()?.get(SIGNATURE)?;
            let is_payload = layer.media_type().to_string() == MEDIA_TYPE && layer.size() <= MAX_PAYLOAD;
            is_payload.then_some((blob_ref(layer).ok()?, signature.as_str()))
        })
    }

    /// All payloads, including those of unknown kinds.
    pub(crate) fn blobs(&self) -> Result<Vec<BlobRef>, ManifestError> {
        let blobs: Result<_, _> = self.layers.iter().map(blob_ref).collect();
        Ok(blobs?)
    }

    pub(crate) fn add(&mut self, payload: &BlobRef, signature: &str) {
        let annotations = [(SIGNATURE, signature)];
        self.layers.push(descriptor(MEDIA_TYPE, payload, &annotations));
    }

    /// Adds the signatures of `other` that are missing.
    pub(crate) fn merge(&mut self, other: &Self) {
        for layer in &other.layers {
            if !self.layers.contains(layer) {
                self.layers.push(layer.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PAYLOAD, SignatureManifest};
    use crate::digest::Digest;
    use crate::manifest::BlobRef;

    fn payload(text: &str, size: u64) -> BlobRef {
        BlobRef {
            digest: Digest::of(text.as_bytes()),
            size,
        }
    }

    #[test]
    fn merge_keeps_all_signatures() {
        let mut ours = SignatureManifest::default();
        ours.add(&payload("a", 1), "c2ln");
        let mut theirs = ours.clone();
        theirs.add(&payload("b", 1), "b3RoZXI=");
        ours.merge(&theirs);
        assert_eq!(ours, theirs);
        let (_, text) = ours.to_json();
        let read = SignatureManifest::from_json(&text).unwrap();
        assert_eq!(read, ours);
        let found: Vec<_> = read.signatures().map(|(_, signature)| signature).collect();
        assert_eq!(found, ["c2ln", "b3RoZXI="]);
    }

    #[test]
    fn payloads_of_other_kinds_are_ignored() {
        let mut manifest = SignatureManifest::default();
        manifest.add(&payload("large", MAX_PAYLOAD + 1), "c2ln");
        assert_eq!(manifest.signatures().count(), 0);
        assert_eq!(manifest.blobs().unwrap().len(), 1);
        let text = String::from_utf8(manifest.to_json().1).unwrap();
        let other = text.replace("simplesigning.v1", "other.v1").replace("65537", "1");
        let other = SignatureManifest::from_json(other.as_bytes()).unwrap();
        assert_eq!(other.signatures().count(), 0);
        assert!(SignatureManifest::from_json(b"{}").is_err());
    }
}
