//! Reads every byte of artifacts: blobs, and what is unpacked of them.

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

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Examination {
    /// Blobs that are as they should be: manifests, configs, layers, and what is attached, each once.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Unpacked layers that are as they should be.
    pub unpacked: usize,
    /// Files, directories and other things in these.
    pub objects: usize,
    /// The rest.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be.
#[derive(Debug)]
pub struct Problem {
    /// The artifacts that need it.
    pub tags: Vec<Tag>,
    pub kind: ProblemKind,
}

/// What is not as it should be.
#[derive(Debug)]
pub enum ProblemKind {
    /// An artifact whose manifest or config cannot be used.
    Artifact(StoreError),
    /// The blob of a layer: what is wrong with it.
    Blob(Layer, BlobProblem),
    /// A document or signatures: their media type.
    Referrer(String),
    /// An unpacked layer: all that differs, at least one.
    Unpacked(Layer, Vec<Mismatch>),
}

/// What can be wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobProblem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is longer or shorter.
    #[error("has another length")]
    Length,
    /// It has another digest.
    #[error("has other bytes")]
    Bytes,
    /// It is what its digest says, but no layer, or not the one that the config describes.
    #[error("holds what no layer may hold")]
    Content,
}

impl Store {
    /// Reads all of the artifacts `tags`, every byte once: blobs are hashed, unpacked layers compared with the streams
    /// they came from.
    ///
    /// # Errors
    /// When there is no such artifact, or the disk refuses. What is wrong with artifacts is no error but reported.
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
            // Both were hashed to get it.
            for BlobRef { digest, size } in [reference, self.manifest(tag)?.config] {
                documents.insert(digest, size);
            }
            self.examine_attached(&artifact, &mut documents, &mut report)?;
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

    fn examine_attached(
        &self,
        artifact: &Artifact,
        sound: &mut BTreeMap<Digest, u64>,
        report: &mut Examination,
    ) -> Result<(), StoreError> {
        for (attached, blobs) in self.referrers_with_blobs(&artifact.digest)? {
            let mut whole = true;
            for BlobRef { digest, size } in blobs {
                if self.has_blob(&digest, size)? {
                    sound.insert(digest, size);
                } else {
                    whole = false;
                }
            }
            if !whole {
                report.problems.push(Problem {
                    tags: vec![artifact.tag.clone()],
                    kind: ProblemKind::Referrer(attached.media_type),
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
                    Err(UnpackError::Damaged { .. }) => Err(BlobProblem::Bytes),
                    Err(UnpackError::Stream(source)) if source.raw_os_error().is_some() => {
                        return Err(StoreError::io("read", &path)(source));
                    }
                    Err(_) => Err(BlobProblem::Content),
                }
            }
            Ok(_) if digest_of_file(&path)? != layer.digest => Err(BlobProblem::Bytes),
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

/// Differences that are named; one can imagine the others.
const NAMED: usize = 5;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = super::error::names(&self.tags);
        match &self.kind {
            ProblemKind::Artifact(error) => {
                write!(f, "{error}")?;
                let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
                causes.into_iter().try_for_each(|cause| write!(f, ": {cause}"))
            }
            ProblemKind::Blob(layer, problem) => write!(f, "layer `{}` of {of} {problem}", layer.title),
            ProblemKind::Referrer(kind) => write!(f, "`{kind}` of {of} is missing or has other bytes"),
            ProblemKind::Unpacked(layer, mismatches) => {
                write!(f, "unpacked layer `{}` of {of}: ", layer.title)?;
                for (number, difference) in mismatches.iter().take(NAMED).enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    let path = match difference.path.as_os_str().is_empty() {
                        true => ".".into(),
                        false => difference.path.to_string_lossy(),
                    };
                    write!(f, "{comma}`{path}` {}", difference.kind)?;
                }
                match mismatches.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more"),
                }
            }
        }
    }
}
