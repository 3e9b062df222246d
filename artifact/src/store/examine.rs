//! Verifies artifacts in full: blobs, and unpacked layers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;

use super::blobs::digest_of_file;
use super::{Artifact, Store, StoreError};
use crate::digest::Digest;
use crate::layer::{Layer, Mismatch, UnpackError, verify};
use crate::manifest::BlobRef;
use crate::tag::Tag;

/// The result of [`Store::examine`].
#[derive(Debug, Default)]
pub struct Examination {
    /// Number of intact blobs: manifests, configs, layers and referrers.
    pub blobs: usize,
    /// Bytes of these blobs.
    pub bytes: u64,
    /// Number of intact unpacked layers.
    pub unpacked: usize,
    /// Number of files, directories and other objects in these layers.
    pub objects: usize,
    pub problems: Vec<Problem>,
}

/// Something missing or damaged, and the artifacts that need it.
#[derive(Debug)]
pub struct Problem {
    pub tags: Vec<Tag>,
    pub kind: ProblemKind,
}

#[derive(Debug)]
pub enum ProblemKind {
    /// An artifact whose manifest or config cannot be used.
    Artifact(StoreError),
    /// The blob of a layer.
    Blob(Layer, BlobProblem),
    /// A document or signatures, by media type.
    Referrer(String),
    /// An unpacked layer, and at least one mismatch.
    Unpacked(Layer, Vec<Mismatch>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobProblem {
    #[error("is missing")]
    Missing,
    #[error("has another length")]
    Length,
    #[error("is corrupt")]
    Corrupt,
    /// It matches its digest, but is not the layer that the config describes.
    #[error("is not a valid layer")]
    Content,
}

impl Store {
    /// Verifies the artifacts `tags`: blobs against their digests, unpacked layers against their blobs.
    ///
    /// # Errors
    /// An artifact does not exist, or a file cannot be read. Problems of artifacts are not errors, but reported.
    pub fn examine(&self, tags: &[Tag]) -> Result<Examination, StoreError> {
        let mut report = Examination::default();
        let mut layers: BTreeMap<Digest, (Layer, Vec<Tag>)> = BTreeMap::new();
        let mut documents: BTreeMap<Digest, u64> = BTreeMap::new();
        for tag in tags {
            let reference = self.reference(tag)?;
            let artifact = match self.get(tag) {
                Ok(artifact) => artifact,
                Err(error) => {
                    report.problems.push(Problem {
                        tags: vec![tag.clone()],
                        kind: ProblemKind::Artifact(error),
                    });
                    continue;
                }
            };
            // Both were verified above.
            for BlobRef { digest, size } in [reference, self.manifest(tag)?.config] {
                documents.insert(digest, size);
            }
            self.examine_referrers(&artifact, &mut documents, &mut report)?;
            for layer in artifact.layers {
                let entry = layers.entry(layer.digest.clone());
                let (_, tags) = entry.or_insert_with(|| (layer, Vec::new()));
                tags.push(tag.clone());
            }
        }
        report.blobs = documents.len();
        report.bytes = documents.values().sum();
        for (layer, tags) in layers.into_values() {
            self.examine_layer(layer, tags, &mut report)?;
        }
        Ok(report)
    }

    fn examine_referrers(
        &self,
        artifact: &Artifact,
        intact: &mut BTreeMap<Digest, u64>,
        report: &mut Examination,
    ) -> Result<(), StoreError> {
        for (referrer, blobs) in self.referrers_with_blobs(&artifact.digest)? {
            let mut is_intact = true;
            for BlobRef { digest, size } in blobs {
                if self.has_blob(&digest, size)? {
                    intact.insert(digest, size);
                } else {
                    is_intact = false;
                }
            }
            if !is_intact {
                report.problems.push(Problem {
                    tags: vec![artifact.tag.clone()],
                    kind: ProblemKind::Referrer(referrer.media_type),
                });
            }
        }
        Ok(())
    }

    fn examine_layer(
        &self,
        layer: Layer,
        tags: Vec<Tag>,
        report: &mut Examination,
    ) -> Result<(), StoreError> {
        let _step = tracing::debug_span!("step", what = format!("read layer `{}`", layer.title)).entered();
        let path = self.blob_path(&layer.digest);
        let dir = self.unpacked_path(&layer.digest);
        let found = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobProblem::Missing),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
            Ok(metadata) if metadata.len() != layer.size => Err(BlobProblem::Length),
            Ok(_) if dir.is_dir() => {
                let blob = File::open(&path).map_err(StoreError::io("read", &path))?;
                match verify(blob, &layer, &dir) {
                    Ok(verification) => Ok(Some(verification)),
                    Err(UnpackError::Damaged { .. }) => Err(BlobProblem::Corrupt),
                    Err(UnpackError::Stream(source)) if source.raw_os_error().is_some() => {
                        return Err(StoreError::io("read", &path)(source));
                    }
                    Err(_) => Err(BlobProblem::Content),
                }
            }
            Ok(_) if digest_of_file(&path)? != layer.digest => Err(BlobProblem::Corrupt),
            Ok(_) => Ok(None),
        };
        let kind = match found {
            Err(problem) => Some(ProblemKind::Blob(layer, problem)),
            Ok(verification) => {
                report.blobs += 1;
                report.bytes += layer.size;
                let verification = verification.unwrap_or_default();
                if verification.mismatches.is_empty() {
                    report.unpacked += usize::from(verification.objects != 0);
                    report.objects += verification.objects;
                    None
                } else {
                    Some(ProblemKind::Unpacked(layer, verification.mismatches))
                }
            }
        };
        report.problems.extend(kind.map(|kind| Problem { tags, kind }));
        Ok(())
    }
}

/// Maximum number of mismatches in a message.
const MAX_SHOWN: usize = 5;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = super::error::names(&self.tags);
        match &self.kind {
            ProblemKind::Artifact(error) => {
                write!(f, "{error}")?;
                let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
                causes.into_iter().try_for_each(|cause| write!(f, ": {cause}"))
            }
            ProblemKind::Blob(layer, problem) => write!(f, "layer `{}` of {tags} {problem}", layer.title),
            ProblemKind::Referrer(kind) => write!(f, "`{kind}` of {tags} is missing or corrupt"),
            ProblemKind::Unpacked(layer, mismatches) => {
                write!(f, "unpacked layer `{}` of {tags}: ", layer.title)?;
                for (number, mismatch) in mismatches.iter().take(MAX_SHOWN).enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    let path = match mismatch.path.as_os_str().is_empty() {
                        true => ".".into(),
                        false => mismatch.path.to_string_lossy(),
                    };
                    write!(f, "{comma}`{path}` {}", mismatch.kind)?;
                }
                match mismatches.len().saturating_sub(MAX_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more"),
                }
            }
        }
    }
}
