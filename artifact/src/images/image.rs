//! An image in an archive, whatever the archive's format.

use serde_json::{Value, json};

use super::document::{CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, MANIFEST_MEDIA_TYPE};
use super::files::{Compression, FileInfo};
use crate::digest::Digest;

/// An image for this host that is complete.
#[derive(Debug)]
pub(super) struct Image {
    /// Names and bare tags, as the archive has them.
    pub(super) tags: Vec<String>,
    pub(super) manifest: Manifest,
    /// The indexes that lead to the manifest, outermost first.
    pub(super) indexes: Vec<Manifest>,
    pub(super) config: Blob,
    /// Bottom layer first.
    pub(super) layers: Vec<Blob>,
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) text: Vec<u8>,
}

/// A config or a layer.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Number of the file in the archive; `None` if only a URL serves it.
    pub(super) number: Option<usize>,
    pub(super) compression: Compression,
}

impl Manifest {
    pub(super) fn new(media_type: Option<&str>, text: Vec<u8>) -> Self {
        Self {
            media_type: media_type.unwrap_or(MANIFEST_MEDIA_TYPE).to_owned(),
            digest: Digest::of(&text),
            text,
        }
    }

    /// A descriptor without annotations.
    pub(super) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.text.len()})
    }
}

impl From<&FileInfo> for Blob {
    fn from(file: &FileInfo) -> Self {
        Self {
            digest: file.digest.clone(),
            size: file.size,
            number: Some(file.number),
            compression: file.compression,
        }
    }
}

impl Image {
    /// The indexes that lead to the manifest, outermost first, and the manifest.
    pub(super) fn chain(&self) -> Vec<&Manifest> {
        self.indexes.iter().chain([&self.manifest]).collect()
    }

    /// The manifest of an image that has none.
    pub(super) fn manifest_of(config: &Blob, layers: &[Blob]) -> Manifest {
        let descriptor = |media_type: &str, blob: &Blob| json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size});
        let layers = layers
            .iter()
            .map(|layer| descriptor(&layer_media_type(layer.compression), layer));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "config": descriptor(CONFIG_MEDIA_TYPE, config),
            "layers": layers.collect::<Vec<_>>(),
        });
        Manifest::new(None, manifest.to_string().into_bytes())
    }

    /// The manifest with the media types that the layers' first bytes prove: containerd fails on a compressed layer that
    /// is declared to be plain.
    pub(super) fn corrected_manifest(&self) -> Option<Manifest> {
        let mut value: Value = serde_json::from_slice(&self.manifest.text).ok()?;
        let mut changed = false;
        let layers = value.get_mut("layers")?.as_array_mut()?;
        for (descriptor, layer) in layers.iter_mut().zip(&self.layers) {
            let right = layer_media_type(layer.compression);
            let declared = descriptor.get("mediaType").and_then(Value::as_str);
            let is_wrong = declared.is_none_or(|declared| declared.starts_with(LAYER_MEDIA_TYPE));
            if is_wrong && layer.number.is_some() && declared != Some(&right) {
                descriptor["mediaType"] = right.into();
                changed = true;
            }
        }
        let media_type = self.manifest.media_type.as_str();
        changed.then(|| Manifest::new(Some(media_type), value.to_string().into_bytes()))
    }
}

fn layer_media_type(compression: Compression) -> String {
    let suffix = match compression {
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
        Compression::None | Compression::Bzip2 | Compression::Xz => "",
    };
    format!("{LAYER_MEDIA_TYPE}{suffix}")
}
