//! Reads everything an artifact consists of.

use std::collections::BTreeMap;

use super::blobs::digest_of_file;
use super::{Store, StoreError};
use crate::tag::Tag;

/// What was read and found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyStats {
    /// Blobs read: manifest, config and layers, each once, and what is attached.
    pub blobs: usize,
    pub bytes: u64,
}

impl Store {
    /// Reads every blob of the artifact and checks its length and digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names every layer that is missing or damaged.
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
                    damaged.push(format!("{what} has other bytes"));
                }
                Ok(_) => {
                    verified.blobs += 1;
                    verified.bytes += size;
                }
            }
        }
        for (attached, blobs) in self.referrers_with_blobs(&digest)? {
            for blob in blobs {
                if self.has_blob(&blob.digest, blob.size)? {
                    verified.blobs += 1;
                    verified.bytes += blob.size;
                } else {
                    let kind = &attached.media_type;
                    damaged.push(format!("its `{kind}` is missing or has other bytes"));
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
