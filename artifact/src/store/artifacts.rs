//! Artifacts in a store: creating, importing and reading them.

use std::fs;

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::config::{self, Config, MachineLayers, RootFs};
use crate::digest::Digest;
use crate::layer::Layer;
use crate::manifest::{self, BlobRef, Manifest, ManifestError, canonical_json};
use crate::reference::Reference;
use crate::referrers::{Document, Referrer};
use crate::tag::Tag;

/// Prefix of the titles of machines' own layers: `machine/node01`.
pub const MACHINE_LAYER: &str = "machine/";

/// A frozen cluster in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub tag: Tag,
    /// Digest of its manifest.
    pub digest: Digest,
    pub config: Config,
    /// In the manifest's order.
    pub layers: Vec<Layer>,
    /// The reference it was pulled from; `None` if it was made here.
    pub origin: Option<Reference>,
    /// Number of its users' secrets, if it was counted.
    pub secrets: Option<u64>,
}

/// A name in the store, and its artifact or the reason why that cannot be used.
#[derive(Debug)]
pub struct ListEntry {
    pub tag: Tag,
    pub artifact: Result<Artifact, StoreError>,
}

/// An artifact to create from layers in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewArtifact {
    /// Time of the freeze.
    pub created: Timestamp,
    pub provider: String,
    pub machines: Vec<MachineLayers>,
    /// Data of this crate's users, opaque here.
    pub cluster: serde_json::Value,
    pub layers: Vec<Layer>,
    /// Number of its users' secrets, if it was counted.
    pub secrets: Option<u64>,
}

impl Artifact {
    /// The layers of a machine, bottom first; `None` if there is no such machine.
    pub fn machine_layers(&self, name: &str) -> Option<Vec<&Layer>> {
        let machine = self.config.machines.iter().find(|machine| machine.name == name)?;
        machine.layers.iter().map(|digest| self.layer(digest)).collect()
    }

    /// The layers that all machines share, bottom first.
    pub fn shared_layers(&self) -> Vec<&Layer> {
        let first = self.config.machines.first();
        let stack = first.map(|machine| machine.layers.as_slice()).unwrap_or_default();
        stack
            .iter()
            .filter_map(|digest| self.layer(digest))
            .filter(|layer| !layer.title.starts_with(MACHINE_LAYER))
            .collect()
    }

    pub fn layer(&self, digest: &Digest) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.digest == *digest)
    }

    /// Size in a registry in bytes: the sum of its different layers.
    pub fn size(&self) -> u64 {
        let by_digest: std::collections::BTreeMap<_, _> = self
            .layers
            .iter()
            .map(|layer| (&layer.digest, layer.size))
            .collect();
        by_digest.values().sum()
    }
}

impl Store {
    /// Creates an artifact with the name `tag`, which is moved if another artifact has it.
    ///
    /// # Errors
    /// The artifact is inconsistent, a layer is not in the store, or the store cannot be written. The tag is unchanged then.
    pub fn put(&self, tag: &Tag, artifact: NewArtifact) -> Result<Artifact, StoreError> {
        self.put_with_documents(tag, artifact, |_| Vec::new())
    }

    /// Like [`Store::put`], with documents about the artifact, atomically.
    ///
    /// # Errors
    /// As for [`Store::put`].
    pub fn put_with_documents(
        &self,
        tag: &Tag,
        artifact: NewArtifact,
        documents: impl FnOnce(&Artifact) -> Vec<Document>,
    ) -> Result<Artifact, StoreError> {
        let NewArtifact {
            created,
            provider,
            machines,
            cluster,
            layers,
            secrets,
        } = artifact;
        let config = Config {
            version: config::VERSION,
            created,
            parbake: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: config::host_architecture().to_owned(),
            os: "linux".to_owned(),
            provider,
            machines,
            cluster,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
        };
        config.check(&layers).map_err(|source| StoreError::NewArtifact {
            tag: tag.clone(),
            source,
        })?;
        self.check_present(&layers)?;
        let config_blob = self.put_document(&canonical_json(&config))?;
        let manifest = self.put_document(&manifest::to_json(&config_blob, &layers, secrets))?;
        let artifact = Artifact {
            tag: tag.clone(),
            digest: manifest.digest.clone(),
            config,
            layers,
            origin: None,
            secrets,
        };
        let referrers = self.put_documents(&manifest, &documents(&artifact))?;
        self.set_tag(tag, &manifest, &referrers, None)?;
        Ok(artifact)
    }

    /// Imports an artifact as `tag`: `manifest` has the exact bytes of its manifest; its config and layers were written with
    /// [`Store::blob_writer`] before. `origin` is recorded.
    ///
    /// # Errors
    /// As for [`Store::get`]; the tag is unchanged then.
    pub fn import(
        &self,
        tag: &Tag,
        manifest: &[u8],
        origin: Option<&Reference>,
    ) -> Result<Artifact, StoreError> {
        self.import_with_referrers(tag, manifest, origin, &[])
    }

    /// Like [`Store::import`], with referrers that were written before.
    pub(crate) fn import_with_referrers(
        &self,
        tag: &Tag,
        manifest: &[u8],
        origin: Option<&Reference>,
        referrers: &[Referrer],
    ) -> Result<Artifact, StoreError> {
        let digest = Digest::of(manifest);
        let artifact = self.read_artifact(tag, digest, manifest, origin.cloned())?;
        self.check_present(&artifact.layers)?;
        let blob = self.put_document(manifest)?;
        self.set_tag(tag, &blob, referrers, origin)?;
        Ok(artifact)
    }

    /// The artifact named `tag`. Its manifest and config are verified; its layers are when they are unpacked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with all names.
    pub fn get(&self, tag: &Tag) -> Result<Artifact, StoreError> {
        let (digest, manifest) = self.manifest_bytes(tag)?;
        self.read_artifact(tag, digest, &manifest, self.origin(tag)?)
    }

    /// The artifact whose manifest has this digest. `tag` is its former name, which may now be that of another artifact.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn get_by_digest(&self, tag: &Tag, digest: &Digest) -> Result<Artifact, StoreError> {
        let bytes = match fs::metadata(self.blob_path(digest)) {
            Ok(found) => self.document(&BlobRef {
                digest: digest.clone(),
                size: found.len(),
            })?,
            Err(_) => None,
        };
        let bytes = bytes.ok_or_else(|| damaged(tag, &format!("the manifest {digest}")))?;
        self.read_artifact(tag, digest.clone(), &bytes, None)
    }

    /// Digest and exact bytes of the manifest of `tag`, to publish it.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub fn manifest_bytes(&self, tag: &Tag) -> Result<(Digest, Vec<u8>), StoreError> {
        let reference = self.reference(tag)?;
        let bytes = self.document(&reference)?;
        Ok((
            reference.digest,
            bytes.ok_or_else(|| damaged(tag, "its manifest"))?,
        ))
    }

    /// All names, in order, with their artifacts.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn list(&self) -> Result<Vec<ListEntry>, StoreError> {
        let list = |tag: Tag| ListEntry {
            artifact: self.get(&tag),
            tag,
        };
        Ok(self.tags()?.into_iter().map(list).collect())
    }

    /// The manifest of `tag`; its blobs are not read.
    pub(super) fn manifest(&self, tag: &Tag) -> Result<Manifest, StoreError> {
        let (_, bytes) = self.manifest_bytes(tag)?;
        Manifest::from_json(&bytes).map_err(|source| unusable(tag, source))
    }

    /// The names of artifacts with this layer, except those whose manifest cannot be read.
    pub(super) fn tags_with(&self, digest: &Digest) -> Vec<Tag> {
        let has = |tag: &Tag| {
            self.manifest(tag)
                .is_ok_and(|manifest| manifest.title(digest).is_some())
        };
        self.tags().unwrap_or_default().into_iter().filter(has).collect()
    }

    fn read_artifact(
        &self,
        tag: &Tag,
        digest: Digest,
        bytes: &[u8],
        origin: Option<Reference>,
    ) -> Result<Artifact, StoreError> {
        let manifest = Manifest::from_json(bytes).map_err(|source| unusable(tag, source))?;
        let config = self
            .document(&manifest.config)?
            .ok_or_else(|| damaged(tag, "its config"))?;
        let (config, layers) = manifest
            .with_config(&config)
            .map_err(|source| unusable(tag, source))?;
        Ok(Artifact {
            tag: tag.clone(),
            digest,
            config,
            layers,
            origin,
            secrets: manifest.secrets,
        })
    }

    fn check_present(&self, layers: &[Layer]) -> Result<(), StoreError> {
        for layer in layers {
            let metadata = std::fs::metadata(self.blob_path(&layer.digest));
            if !metadata.is_ok_and(|metadata| metadata.len() == layer.size) {
                return Err(self.missing(layer));
            }
        }
        Ok(())
    }

    pub(super) fn missing(&self, layer: &Layer) -> StoreError {
        let tags = self.tags_with(&layer.digest);
        StoreError::MissingLayer {
            title: layer.title.clone(),
            digest: layer.digest.clone(),
            tags,
        }
    }
}

fn unusable(tag: &Tag, source: ManifestError) -> StoreError {
    StoreError::Artifact {
        tag: tag.clone(),
        source,
    }
}

fn damaged(tag: &Tag, what: &str) -> StoreError {
    StoreError::Damaged {
        tag: tag.clone(),
        blobs: vec![format!("{what} is missing or corrupt")],
    }
}
