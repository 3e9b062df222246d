//! The OCI image manifest of an artifact (OCI image-spec 1.1, manifest.md).

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{Descriptor, DescriptorBuilder, ImageManifest, ImageManifestBuilder, MediaType};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Config, ConfigError, MAX_LAYERS};
use crate::digest::{Digest, DigestError};
use crate::layer::Layer;
use crate::printable::{JsonError, printable};

/// Media type of the config.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.parbake.cluster.config.v1+json";
/// Media type of every layer.
pub const LAYER_MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Annotation of a layer: [`Layer::title`].
pub const TITLE_ANNOTATION: &str = "dev.parbake.layer.title";
/// Annotation of a layer: [`Layer::unpacked_size`] in decimal.
pub const UNPACKED_SIZE_ANNOTATION: &str = "dev.parbake.layer.unpacked-size";

/// Annotation of the manifest: [`Artifact::secrets`](crate::Artifact::secrets) in decimal; optional.
pub const SECRETS_ANNOTATION: &str = "dev.parbake.secrets";

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is not an OCI image manifest")]
    Json(#[source] JsonError),
    #[error(
        "it is not a parbake artifact: its config is `{}`, not `{CONFIG_MEDIA_TYPE}`",
        printable(found)
    )]
    NotAnArtifact { found: String },
    #[error("its layer {} has no valid `{what}`", printable(digest))]
    Layer { digest: String, what: &'static str },
    #[error("it lists {found} layers, more than the {MAX_LAYERS} that an artifact can have")]
    TooMany { found: usize },
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Digest and length of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl BlobRef {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }
}

/// The manifest of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: BlobRef,
    /// Number of its users' secrets, if it was counted.
    pub(crate) secrets: Option<u64>,
    layers: Vec<ListedLayer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedLayer {
    title: String,
    blob: BlobRef,
    unpacked_size: u64,
}

impl Manifest {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.into()))?;
        let config_type = manifest.config().media_type().to_string();
        if config_type != CONFIG_MEDIA_TYPE {
            return Err(ManifestError::NotAnArtifact { found: config_type });
        }
        let found = manifest.layers().len();
        if found > MAX_LAYERS {
            return Err(ManifestError::TooMany { found });
        }
        let annotations = manifest.annotations().as_ref();
        Ok(Self {
            secrets: annotations.and_then(|all| all.get(SECRETS_ANNOTATION)?.parse().ok()),
            config: blob_ref(manifest.config())?,
            layers: manifest
                .layers()
                .iter()
                .map(listed_layer)
                .collect::<Result<_, _>>()?,
        })
    }

    /// All blobs that it refers to.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob))
    }

    /// The title of a layer; `None` for other blobs.
    pub(crate) fn title(&self, digest: &Digest) -> Option<&str> {
        self.layers
            .iter()
            .find(|layer| layer.blob.digest == *digest)
            .map(|layer| layer.title.as_str())
    }

    /// Parses and checks its config, and combines both into layers.
    pub(crate) fn with_config(&self, config: &[u8]) -> Result<(Config, Vec<Layer>), ManifestError> {
        let config = Config::from_json(config)?;
        let layers: Vec<Layer> = self
            .layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .map(|(listed, diff_id)| Layer {
                title: listed.title.clone(),
                digest: listed.blob.digest.clone(),
                diff_id: diff_id.clone(),
                size: listed.blob.size,
                unpacked_size: listed.unpacked_size,
            })
            .collect();
        if layers.len() != self.layers.len() {
            let (ids, count) = (layers.len(), self.layers.len());
            let problem = format!("it has {ids} diff ids for {count} layers");
            return Err(ConfigError::Invalid(vec![problem]).into());
        }
        config.check(&layers)?;
        Ok((config, layers))
    }
}

/// Writes the manifest of a config and layers.
pub(crate) fn to_json(config: &BlobRef, layers: &[Layer], secrets: Option<u64>) -> Vec<u8> {
    let secrets = secrets.map(|count| (SECRETS_ANNOTATION.to_owned(), count.to_string()));
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(CONFIG_MEDIA_TYPE, config, &[]))
        .layers(layers.iter().map(layer_descriptor).collect::<Vec<_>>());
    let manifest = match secrets {
        Some(annotation) => manifest.annotations(HashMap::from([annotation])),
        None => manifest,
    };
    let manifest = manifest.build().expect("all required fields are set above");
    canonical_json(&manifest)
}

pub(crate) fn descriptor(media_type: &str, blob: &BlobRef, annotations: &[(&str, &str)]) -> Descriptor {
    let digest: oci_spec::image::Digest = blob
        .digest
        .as_str()
        .parse()
        .expect("sha256 and 64 hexadecimal digits are a digest there too");
    let descriptor = DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(blob.size);
    let annotations: HashMap<String, String> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let descriptor = if annotations.is_empty() {
        descriptor
    } else {
        descriptor.annotations(annotations)
    };
    descriptor.build().expect("all required fields are set above")
}

pub(crate) fn blob_ref(descriptor: &Descriptor) -> Result<BlobRef, DigestError> {
    Ok(BlobRef {
        digest: descriptor.digest().as_ref().parse()?,
        size: descriptor.size(),
    })
}

/// JSON with sorted keys: annotations are in a hash map, and equal manifests must give equal bytes.
pub(crate) fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let map: BTreeMap<String, Value> = map.into_iter().collect();
                Value::Object(map.into_iter().map(|(key, value)| (key, sorted(value))).collect())
            }
            Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    let value = serde_json::to_value(value).expect("all keys are strings and all numbers are finite");
    sorted(value).to_string().into_bytes()
}

fn layer_descriptor(layer: &Layer) -> Descriptor {
    let blob = BlobRef {
        digest: layer.digest.clone(),
        size: layer.size,
    };
    let unpacked_size = layer.unpacked_size.to_string();
    let annotations = [
        (TITLE_ANNOTATION, layer.title.as_str()),
        (UNPACKED_SIZE_ANNOTATION, &unpacked_size),
    ];
    descriptor(LAYER_MEDIA_TYPE, &blob, &annotations)
}

fn listed_layer(descriptor: &Descriptor) -> Result<ListedLayer, ManifestError> {
    let wrong = |what| ManifestError::Layer {
        digest: descriptor.digest().to_string(),
        what,
    };
    if descriptor.media_type().to_string() != LAYER_MEDIA_TYPE {
        return Err(wrong("media type"));
    }
    let annotation = |key| descriptor.annotations().as_ref().and_then(|all| all.get(key));
    let unpacked_size = annotation(UNPACKED_SIZE_ANNOTATION).and_then(|size| size.parse().ok());
    Ok(ListedLayer {
        title: annotation(TITLE_ANNOTATION)
            .ok_or_else(|| wrong(TITLE_ANNOTATION))?
            .clone(),
        blob: blob_ref(descriptor)?,
        unpacked_size: unpacked_size.ok_or_else(|| wrong(UNPACKED_SIZE_ANNOTATION))?,
    })
}

#[cfg(test)]
mod tests {
    use super::{BlobRef, LAYER_MEDIA_TYPE, Manifest, to_json};
    use crate::digest::Digest;
    use crate::layer::Layer;

    fn sample() -> Vec<u8> {
        let layer = Layer {
            title: "os".to_owned(),
            digest: Digest::of(b"os"),
            diff_id: Digest::of(b"diff"),
            size: 7,
            unpacked_size: 1024,
        };
        to_json(
            &BlobRef {
                digest: Digest::of(b"config"),
                size: 3,
            },
            &[layer.clone(), layer],
            Some(3),
        )
    }

    #[test]
    fn equal_manifests_give_equal_bytes() {
        let first = sample();
        assert!((0..20).all(|_| sample() == first));
    }

    #[test]
    fn manifests_round_trip() {
        let manifest = Manifest::from_json(&sample()).unwrap();
        assert_eq!(
            manifest.config,
            BlobRef {
                digest: Digest::of(b"config"),
                size: 3
            }
        );
        assert_eq!(manifest.blobs().count(), 3);
        assert_eq!(manifest.secrets, Some(3));
        // Older artifacts have no count.
        let text = String::from_utf8(sample()).unwrap();
        let uncounted = text.replace(r#""annotations":{"dev.parbake.secrets":"3"},"#, "");
        assert_ne!(uncounted, text);
        assert_eq!(Manifest::from_json(uncounted.as_bytes()).unwrap().secrets, None);
        assert_eq!(manifest.title(&Digest::of(b"os")), Some("os"));
        assert_eq!(manifest.layers[1].unpacked_size, 1024);
    }

    #[test]
    fn other_manifests_are_rejected() {
        let text = String::from_utf8(sample()).unwrap();
        let error = |text: &str| Manifest::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(error("{}").contains("not an OCI image manifest"));
        let image = text.replace("vnd.parbake.cluster.config", "vnd.oci.image.config");
        assert!(error(&image).contains("not a parbake artifact"));
        let gzip = text.replace(LAYER_MEDIA_TYPE, "application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(error(&gzip).contains("`media type`"));
        assert!(error(&text.replace("1024", "-1")).contains("unpacked-size"));
        assert!(error(&text.replace("layer.title", "layer.name")).contains("layer.title"));
    }
}
