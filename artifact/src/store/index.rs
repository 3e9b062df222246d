//! `index.json`: which tag is which manifest (OCI image-spec 1.1, image-layout.md, "index.json file").

use std::fs;
use std::io;

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};

use super::attached::with_attached;
use super::{Store, StoreError, lock};
use crate::attached::{Attached, MANIFEST_MEDIA_TYPE};
use crate::manifest::{BlobRef, blob_ref, descriptor};
use crate::reference::Reference;
use crate::tag::Tag;

/// The annotation that holds a tag (OCI image-spec 1.1, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that holds the [`Reference`] from which the artifact was pulled; those made here have none.
const ORIGIN: &str = "dev.parbake.origin";

impl Store {
    /// The names of all artifacts, in order.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.references()?.into_iter().map(|(tag, _)| tag).collect())
    }

    /// From where the artifact called `tag` was pulled; `None` when it was made here, or there is none of that name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn origin(&self, tag: &Tag) -> Result<Option<Reference>, StoreError> {
        let index = self.read_index()?;
        let mut manifests = index.manifests().iter();
        let found = manifests.find(|manifest| tag_of(manifest).as_ref() == Some(tag));
        Ok(found.and_then(origin_of))
    }

    /// The name of an artifact that was pulled from exactly there, or, where the reference has a digest, of any that
    /// has this digest.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find(&self, reference: &Reference) -> Result<Option<Tag>, StoreError> {
        let is_it = |manifest: &&Descriptor| match reference.digest() {
            Some(digest) => manifest.digest().as_ref() == digest.as_str(),
            None => origin_of(manifest).as_ref() == Some(reference),
        };
        let index = self.read_index()?;
        Ok(index.manifests().iter().filter(is_it).find_map(tag_of))
    }

    /// Every tag and its manifest. What other tools put into the index under no proper tag is not ours.
    pub(super) fn references(&self) -> Result<Vec<(Tag, BlobRef)>, StoreError> {
        let mut references: Vec<_> = self
            .read_index()?
            .manifests()
            .iter()
            .filter_map(|manifest| Some((tag_of(manifest)?, blob_ref(manifest).ok()?)))
            .collect();
        references.sort_by(|(left, _), (right, _)| left.cmp(right));
        Ok(references)
    }

    pub(super) fn reference(&self, tag: &Tag) -> Result<BlobRef, StoreError> {
        let references = self.references()?;
        match references.iter().find(|(other, _)| other == tag) {
            Some((_, manifest)) => Ok(manifest.clone()),
            None => {
                let have = references.into_iter().map(|(tag, _)| tag).collect();
                Err(StoreError::NotFound {
                    tag: tag.clone(),
                    have,
                })
            }
        }
    }

    /// Points a tag to a manifest, with what is attached to that, or to none; tells whether it pointed to one before.
    pub(super) fn point(
        &self,
        tag: &Tag,
        manifest: Option<(&BlobRef, &[Attached])>,
        origin: Option<&Reference>,
    ) -> Result<bool, StoreError> {
        let _only_writer = lock::exclusive(&self.dir.join("index.lock"))?;
        let mut index = self.read_index()?;
        let mut manifests = index.manifests().clone();
        manifests.retain(|other| tag_of(other).as_ref() != Some(tag));
        let was_there = manifests.len() != index.manifests().len();
        if let Some((manifest, _)) = manifest {
            let origin = origin.map(Reference::to_string);
            let annotations = [(REF_NAME, Some(tag.as_str())), (ORIGIN, origin.as_deref())];
            let annotations: Vec<_> = annotations
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect();
            manifests.push(descriptor(MANIFEST_MEDIA_TYPE, manifest, &annotations));
        }
        index.set_manifests(manifests);
        if let Some((manifest, attached)) = manifest {
            index = with_attached(index, &manifest.digest, attached);
        }
        self.write_index(index)?;
        Ok(was_there)
    }

    pub(super) fn read_index(&self) -> Result<ImageIndex, StoreError> {
        let path = self.dir.join("index.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| StoreError::Index { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ImageIndexBuilder::default()
                .schema_version(2_u32)
                .media_type(MediaType::ImageIndex)
                .manifests(Vec::new())
                .build()
                .expect("all required fields are set above")),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }
}

fn tag_of(manifest: &Descriptor) -> Option<Tag> {
    manifest.annotations().as_ref()?.get(REF_NAME)?.parse().ok()
}

fn origin_of(manifest: &Descriptor) -> Option<Reference> {
    manifest.annotations().as_ref()?.get(ORIGIN)?.parse().ok()
}
