//! Verifies the blobs of an artifact.

use std::collections::BTreeMap;

use super::blobs::digest_of_file;
use super::{Store, StoreError};
use crate::tag::Tag;

/// What was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyStats {
    /// Number of blobs: manifest, config, layers and referrers.
    pub blobs: usize,
    pub bytes: u64,
}

impl Store {
    /// Checks length and digest of every blob of the artifact.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with everything that is missing or corrupt.
    pub fn verify(&self, tag: &Tag) -> Result<VerifyStats, StoreError> {
        let (digest, manifest_bytes) = self.manifest_bytes(tag)?;
        let manifest = self.manifest(tag)?;
        let mut verified = VerifyStats {
            blobs: 1,
            bytes: manifest_bytes.len() as u64,
        };
        let mut damaged = Vec::new();
        let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob.size)).collect();
        for (digest, size) in blobs {
            let what = match manifest.title(digest) {
                Some(title) => format!("layer `{title}`"),
                None => "its config".to_owned(),
            };
            match std::fs::metadata(self.blob_path(digest)) {
                Err(_) => damaged.push(format!("{what} is missing")),
                Ok(metadata) if metadata.len() != size => damaged.push(format!("{what} has another length")),
                Ok(_) if digest_of_file(&self.blob_path(digest))? != *digest => {
                    damaged.push(format!("{what} is corrupt"));
                }
                Ok(_) => {
                    verified.blobs += 1;
                    verified.bytes += size;
                }
            }
        }
        for (referrer, blobs) in self.referrers_with_blobs(&digest)? {
            for blob in blobs {
                if self.has_blob(&blob.digest, blob.size)? {
                    verified.blobs += 1;
                    verified.bytes += blob.size;
                } else {
                    let kind = &referrer.media_type;
                    damaged.push(format!("its `{kind}` is missing or corrupt"));
                }
            }
        }
        if !damaged.is_empty() {
            return Err(StoreError::Damaged {
                tag: tag.clone(),
                blobs: damaged,
            });
        }
        self.get(tag).map(|_| verified)
    }
}
