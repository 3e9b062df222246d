//! `index.json`: the manifests of tags (OCI image-spec 1.1, image-layout.md, "index.json file").

use std::fs;
use std::io;

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};

use super::referrers::{attach, without_orphans};
use super::{Store, StoreError, lock};
use crate::manifest::{BlobRef, blob_ref, canonical_json, descriptor};
use crate::reference::Reference;
use crate::referrers::{MANIFEST_MEDIA_TYPE, Referrer};
use crate::tag::Tag;

/// The annotation with a tag (OCI image-spec 1.1, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the [`Reference`] that the artifact was pulled from.
const ORIGIN: &str = "dev.parbake.origin";

impl Store {
    /// The names of all artifacts, in order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.references()?.into_iter().map(|(tag, _)| tag).collect())
    }

    /// The reference that the artifact `tag` was pulled from; `None` if it was made here or does not exist.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn origin(&self, tag: &Tag) -> Result<Option<Reference>, StoreError> {
        let index = self.read_index()?;
        let mut manifests = index.manifests().iter();
        let found = manifests.find(|manifest| tag_of(manifest).as_ref() == Some(tag));
        Ok(found.and_then(origin_of))
    }

    /// The name of the artifact that was pulled from `reference`; if that has a digest, of any artifact with this digest.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn find(&self, reference: &Reference) -> Result<Option<Tag>, StoreError> {
        let matches = |manifest: &&Descriptor| match reference.digest() {
            Some(digest) => manifest.digest().as_ref() == digest.as_str(),
            None => origin_of(manifest).as_ref() == Some(reference),
        };
        let index = self.read_index()?;
        Ok(index.manifests().iter().filter(matches).find_map(tag_of))
    }

    /// All tags and their manifests. Entries of other tools that have no valid tag are ignored.
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

    /// Points a tag to a manifest, and attaches `referrers` to that.
    pub(super) fn set_tag(
        &self,
        tag: &Tag,
        manifest: &BlobRef,
        referrers: &[Referrer],
        origin: Option<&Reference>,
    ) -> Result<(), StoreError> {
        let origin = origin.map(Reference::to_string);
        let annotations = [(REF_NAME, Some(tag.as_str())), (ORIGIN, origin.as_deref())];
        let annotations: Vec<_> = annotations
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        self.mark_used(tag)?;
        self.change_index(|manifests| {
            manifests.retain(|other| tag_of(other).as_ref() != Some(tag));
            manifests.push(descriptor(MANIFEST_MEDIA_TYPE, manifest, &annotations));
            attach(manifests, &manifest.digest, referrers);
            Ok(())
        })
    }

    /// Removes tags, all or none.
    pub(super) fn remove_tags(&self, tags: &[Tag]) -> Result<(), StoreError> {
        if tags.is_empty() {
            return Ok(());
        }
        self.change_index(|manifests| {
            let have: Vec<Tag> = manifests.iter().filter_map(tag_of).collect();
            if let Some(missing) = tags.iter().find(|tag| !have.contains(tag)) {
                let tag = missing.clone();
                return Err(StoreError::NotFound { tag, have });
            }
            manifests.retain(|other| tag_of(other).is_none_or(|tag| !tags.contains(&tag)));
            Ok(())
        })
    }

    /// Replaces the index, without referrers of manifests that it no longer has.
    pub(super) fn change_index(
        &self,
        change: impl FnOnce(&mut Vec<Descriptor>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _only_writer = lock::exclusive(&self.dir.join("index.lock"))?;
        let mut index = self.read_index()?;
        let mut manifests = index.manifests().clone();
        change(&mut manifests)?;
        index.set_manifests(without_orphans(manifests));
        self.replace_file(&self.dir.join("index.json"), &canonical_json(&index))
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
