//! Documents and signatures of an artifact, as `parbake artifact` shows them.

use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use parbake_artifact::{Artifact, DocumentKind, PublicKey, Referrer, Store, Tag};
use serde::Serialize;

use crate::output::{self, table};

/// A document, or the signatures.
#[derive(Debug, Serialize)]
pub(crate) struct Attachment {
    kind: &'static str,
    media_type: String,
    /// The digest of the manifest.
    digest: String,
}

/// A verified signature of an artifact.
#[derive(Debug, Serialize)]
pub(crate) struct Signed {
    tag: Tag,
    /// The file of the public key.
    key: PathBuf,
    /// Attached documents that this key signed.
    documents: Vec<&'static str>,
    /// Attached documents that it did not sign.
    unsigned_documents: Vec<&'static str>,
}

/// A public key and its file.
pub(crate) struct Key {
    path: PathBuf,
    key: PublicKey,
}

fn kind(attached: &Referrer) -> &'static str {
    match attached.document() {
        Some(DocumentKind::Sbom) => "sbom",
        Some(DocumentKind::Provenance) => "provenance",
        Some(DocumentKind::Bundle) | None => "signatures",
    }
}

pub(crate) fn list(store: &Store, artifact: &Artifact) -> anyhow::Result<Vec<Attachment>> {
    let attached = store.referrers(&artifact.digest)?;
    let listed = attached.into_iter().map(|attached| Attachment {
        kind: kind(&attached),
        digest: attached.digest.to_string(),
        media_type: attached.media_type,
    });
    Ok(listed.collect())
}

/// A table with an empty line above it; empty if there is nothing to list.
pub(crate) fn table_of(attached: &[Attachment]) -> String {
    if attached.is_empty() {
        return String::new();
    }
    let rows = attached.iter().map(|attached| {
        [
            attached.kind.to_owned(),
            attached.media_type.clone(),
            attached.digest.clone(),
        ]
    });
    format!("\n{}", table(["ATTACHED", "TYPE", "DIGEST"], rows))
}

/// Prints a document unchanged: it is JSON whatever `--output` is.
pub(crate) fn print(store: &Store, tag: &Tag, kind: DocumentKind) -> anyhow::Result<()> {
    let artifact = store.get(tag)?;
    let Some(text) = store.documents(&artifact.digest, kind)?.into_iter().next() else {
        bail!(
            "`{tag}` has no `{}`: an older parbake or another tool made it\n\
             `parbake provision` makes an artifact that has one",
            kind.media_type()
        );
    };
    output::write(&text).map(drop)
}

impl Key {
    pub(crate) fn load(path: PathBuf) -> anyhow::Result<Self> {
        let key = PublicKey::load(&path)?;
        Ok(Self { path, key })
    }

    /// Finds a valid signature by this key.
    pub(crate) fn check(&self, store: &Store, tag: &Tag) -> anyhow::Result<Signed> {
        let digest = store.get(tag)?.digest;
        let Some(found) = store.find_signature(&digest, std::slice::from_ref(&self.key))? else {
            bail!(
                "`{tag}` has no signature by the key `{}`\n\
                 sign it with `parbake publish --sign` or `cosign sign`, then pull it again",
                self.path.display()
            );
        };
        let attached = store.referrers(&digest)?;
        let documents = attached.iter().filter(|attached| !attached.is_signatures());
        let (signed, unsigned): (Vec<_>, Vec<_>) =
            documents.partition(|document| found.documents.contains(&document.digest));
        let kinds = |documents: Vec<&Referrer>| documents.into_iter().map(kind).collect();
        Ok(Signed {
            tag: tag.clone(),
            key: self.path.clone(),
            documents: kinds(signed),
            unsigned_documents: kinds(unsigned),
        })
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is signed by `{}`", self.tag, self.key.display())?;
        for document in &self.documents {
            write!(f, ", with its {document}")?;
        }
        for document in &self.unsigned_documents {
            write!(f, ", but not its {document}")?;
        }
        writeln!(f)
    }
}
