//! The attestations of an artifact: its software bill of materials and its provenance.

mod provenance;
mod purl;
mod sbom;

use parbake_artifact::{Artifact, Document, DocumentKind};

use crate::inputs::Materials;
use crate::provider::Provider;

/// What the documents are made from, in addition to the artifact.
pub(crate) struct Attestation<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) materials: &'a Materials,
    /// The key of all inputs: 64 hexadecimal digits.
    pub(crate) inputs: &'a str,
}

impl Attestation<'_> {
    /// The documents about `artifact`. They are reproducible.
    pub(crate) fn documents(&self, artifact: &Artifact) -> Vec<Document> {
        vec![
            Document {
                kind: DocumentKind::Sbom,
                text: sbom::text(self.provider, self.materials),
            },
            Document {
                kind: DocumentKind::Provenance,
                text: provenance::text(self, artifact),
            },
        ]
    }
}

#[cfg(test)]
mod tests;
