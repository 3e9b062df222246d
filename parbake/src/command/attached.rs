//! What is attached to an artifact: how `parbake artifact` shows documents and signatures.

use std::fmt;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, bail};
use parbake_artifact::{Artifact, DocumentKind, PublicKey, Referrer, Store, Tag};
use serde::Serialize;

use crate::output::table;

/// A document, or all signatures.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    kind: &'static str,
    media_type: String,
    /// Of its manifest.
    digest: String,
}

/// Who signed an artifact.
#[derive(Debug, Serialize)]
pub(crate) struct Signed {
    tag: Tag,
    /// The file with the public key.
    key: PathBuf,
    /// Documents that were signed with it.
    documents: Vec<&'static str>,
    /// Documents that are attached, but were not signed with it.
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
        None => "signatures",
    }
}

/// Lists what is attached to an artifact.
pub(crate) fn list(store: &Store, artifact: &Artifact) -> anyhow::Result<Vec<Listed>> {
    let attached = store.referrers(&artifact.digest)?;
    let listed = attached.into_iter().map(|attached| Listed {
        kind: kind(&attached),
        digest: attached.digest.to_string(),
        media_type: attached.media_type,
    });
    Ok(listed.collect())
}

/// The same as a table, with an empty line above; nothing where there is nothing.
pub(crate) fn table_of(attached: &[Listed]) -> String {
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

/// Prints a document as it is, whatever `--output` says: it is JSON.
pub(crate) fn print(store: &Store, tag: &Tag, kind: DocumentKind) -> anyhow::Result<()> {
    let artifact = store.get(tag)?;
    let Some(text) = store.documents(&artifact.digest, kind)?.into_iter().next() else {
        bail!(
            "`{tag}` came without `{}`; it was made by an older parbake or another tool: `parbake provision` makes one",
            kind.media_type()
        );
    };
    stdout().write_all(&text).context("cannot write the document")
}

impl Key {
    pub(crate) fn load(path: PathBuf) -> anyhow::Result<Self> {
        let key = PublicKey::load(&path)?;
        Ok(Self { path, key })
    }

    /// Looks for a good signature by this key.
    pub(crate) fn check(&self, store: &Store, tag: &Tag) -> anyhow::Result<Signed> {
        let digest = store.get(tag)?.digest;
        let Some(found) = store.find_signature(&digest, std::slice::from_ref(&self.key))? else {
            bail!(
                "`{tag}` has no signature by the key `{}`; pull it again after it was signed with `parbake publish --sign` or `cosign sign`",
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
            write!(f, ", its {document} too")?;
        }
        for document in &self.unsigned_documents {
            write!(f, ", but not its {document}")?;
        }
        writeln!(f)
    }
}
