//! Deltas between the layers of an artifact and those of an older one. Those of a pair of artifacts have one manifest, a
//! referrer of the new artifact (OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage"):
//!
//! ```text
//! manifest          artifactType: application/vnd.parbake.delta.v1, subject: the new artifact's manifest
//! │                 dev.parbake.delta.from-artifact: digest of the old artifact's manifest
//! ├── config        application/vnd.oci.empty.v1+json: {}
//! └── layers[]      application/vnd.parbake.delta.layer.v1: a delta, see `layer/delta.rs`
//!     └── annotations
//!         ├── dev.parbake.delta.from, from-diff-id    the old layer: digest of its blob, and of its uncompressed stream
//!         └── dev.parbake.delta.to, to-diff-id        the new layer, likewise
//! ```
//!
//! They need no trust: their output is checked against the digest in the artifact's own manifest.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};

use crate::config::MAX_LAYERS;
use crate::digest::Digest;
use crate::layer::Layer;
use crate::manifest::{BlobRef, ManifestError, blob_ref, canonical_json, descriptor};
use crate::referrers::{EMPTY, EMPTY_MEDIA_TYPE, MANIFEST_MEDIA_TYPE};

/// The artifact type of the manifest.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.parbake.delta.v1";
const LAYER_MEDIA_TYPE: &str = "application/vnd.parbake.delta.layer.v1";
pub(crate) const FROM_ARTIFACT: &str = "dev.parbake.delta.from-artifact";
const FROM: &str = "dev.parbake.delta.from";
const FROM_DIFF_ID: &str = "dev.parbake.delta.from-diff-id";
const TO: &str = "dev.parbake.delta.to";
const TO_DIFF_ID: &str = "dev.parbake.delta.to-diff-id";

/// A delta between two layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Digest of the old layer's blob.
    pub(crate) from: Digest,
    /// Digest of the new layer's blob.
    pub(crate) to: Digest,
    pub(crate) blob: BlobRef,
}

/// The manifest of deltas between two artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeltaManifest {
    /// Digest of the new artifact's manifest.
    pub(crate) subject: Digest,
    /// Digest of the old artifact's manifest, if it is given.
    pub(crate) from: Option<Digest>,
    pub(crate) deltas: Vec<Delta>,
}

impl DeltaManifest {
    /// Parses a manifest; `None` if it is not one of deltas. Layers of other kinds are skipped.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
        let kind = manifest.artifact_type().as_ref().map(ToString::to_string);
        let Some(subject) = manifest
            .subject()
            .as_ref()
            .filter(|_| kind.as_deref() == Some(ARTIFACT_TYPE))
        else {
            return Ok(None);
        };
        let from = digest_in(manifest.annotations().as_ref(), FROM_ARTIFACT);
        let layers = manifest.layers().iter().take(MAX_LAYERS);
        Ok(Some(Self {
            subject: blob_ref(subject)?.digest,
            from,
            deltas: layers.filter_map(delta).collect(),
        }))
    }

    /// Writes the manifest of deltas to the manifest `subject` from the one with the digest `from`. Each delta comes with its
    /// old and its new layer.
    pub(crate) fn to_json(subject: &BlobRef, from: &Digest, deltas: &[(&Layer, &Layer, BlobRef)]) -> Vec<u8> {
        let config = BlobRef {
            digest: Digest::of(EMPTY),
            size: EMPTY.len() as u64,
        };
        let layers = deltas.iter().map(|(old, new, blob)| {
            let annotations = [
                (FROM, old.digest.as_str()),
                (FROM_DIFF_ID, old.diff_id.as_str()),
                (TO, new.digest.as_str()),
                (TO_DIFF_ID, new.diff_id.as_str()),
            ];
            descriptor(LAYER_MEDIA_TYPE, blob, &annotations)
        });
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(ARTIFACT_TYPE)
            .config(descriptor(EMPTY_MEDIA_TYPE, &config, &[]))
            .layers(layers.collect::<Vec<_>>())
            .subject(descriptor(MANIFEST_MEDIA_TYPE, subject, &[]))
            .annotations(HashMap::from([(FROM_ARTIFACT.to_owned(), from.to_string())]))
            .build()
            .expect("all required fields are set above");
        canonical_json(&manifest)
    }
}

/// True if the descriptor of a referrer is that of deltas.
pub(crate) fn is_deltas(entry: &Descriptor) -> bool {
    let kind = entry.artifact_type().as_ref();
    kind.is_some_and(|kind| kind.as_ref() == ARTIFACT_TYPE)
}

fn delta(entry: &Descriptor) -> Option<Delta> {
    let annotations = entry.annotations().as_ref();
    let is_one = entry.media_type().to_string() == LAYER_MEDIA_TYPE;
    is_one.then_some(Delta {
        from: digest_in(annotations, FROM)?,
        to: digest_in(annotations, TO)?,
        blob: blob_ref(entry).ok()?,
    })
}

fn digest_in(annotations: Option<&HashMap<String, String>>, key: &str) -> Option<Digest> {
    annotations?.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{ARTIFACT_TYPE, Delta, DeltaManifest, LAYER_MEDIA_TYPE};
    use crate::digest::Digest;
    use crate::layer::Layer;
    use crate::manifest::BlobRef;

    fn blob(text: &str) -> BlobRef {
        BlobRef {
            digest: Digest::of(text.as_bytes()),
            size: text.len() as u64,
        }
    }

    fn layer(text: &str) -> Layer {
        Layer {
            title: "os".to_owned(),
            digest: Digest::of(text.as_bytes()),
            diff_id: Digest::of(b"plain"),
            size: 7,
            unpacked_size: 1024,
        }
    }

    fn sample() -> Vec<u8> {
        let (old, new) = (layer("old"), layer("new"));
        DeltaManifest::to_json(
            &blob("subject"),
            &Digest::of(b"from"),
            &[(&old, &new, blob("delta"))],
        )
    }

    #[test]
    fn manifests_round_trip() {
        let read = DeltaManifest::from_json(&sample()).unwrap().unwrap();
        assert_eq!(read.subject, blob("subject").digest);
        assert_eq!(read.from, Some(Digest::of(b"from")));
        let (from, to) = (Digest::of(b"old"), Digest::of(b"new"));
        let expected = Delta {
            from,
            to,
            blob: blob("delta"),
        };
        assert_eq!(read.deltas, [expected]);
        assert_eq!(sample(), sample());
    }

    #[test]
    fn other_manifests_and_layers_are_ignored() {
        let text = String::from_utf8(sample()).unwrap();
        let read = |text: &str| DeltaManifest::from_json(text.as_bytes()).unwrap();
        assert_eq!(read(&text.replace(ARTIFACT_TYPE, "application/other")), None);
        assert_eq!(read(&text.replace("\"subject\"", "\"other\"")), None);
        for (part, other) in [
            (LAYER_MEDIA_TYPE, "application/other"),
            ("delta.from\"", "other\""),
            ("delta.to\"", "other\""),
        ] {
            assert!(
                read(&text.replace(part, other)).unwrap().deltas.is_empty(),
                "{part}"
            );
        }
        assert!(DeltaManifest::from_json(b"[]").is_err());
    }
}
