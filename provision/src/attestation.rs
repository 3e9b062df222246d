//! What an artifact tells of where it comes from: its software bill of materials, and its provenance.

mod provenance;
mod purl;
mod sbom;

use parbake_artifact::{Artifact, Document, DocumentKind};

use crate::inputs::Materials;
use crate::provider::Provider;

/// What the documents are about, besides the artifact itself.
pub(crate) struct Attestation<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) materials: &'a Materials,
    /// Identifies the inputs together: 64 hexadecimal digits.
    pub(crate) inputs: &'a str,
}

impl Attestation<'_> {
    /// The documents about `artifact`. Equal inputs give equal bytes.
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
