//! `parbake.toml`: the artifact that a project uses.
//!
//! ```toml
//! # What `parbake up` starts here; `parbake pin --update` renews it.
//! artifact = "registry.example.org/clusters/k8s-1.34:latest@sha256:..."
//! plain-http = true    # only for a registry without TLS
//! ```
//!
//! The digest says which artifact is meant, on every machine and for ever; the tag says where a newer one is looked for.
//! Like Cargo's, the file is that of the directory or of the nearest one above it.

mod write;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::reference::Reference;

pub use write::write;

/// The file's name.
pub const FILE: &str = "parbake.toml";

/// A project's pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The file that it is in.
    pub path: PathBuf,
    /// What is pinned.
    pub artifact: Reference,
    /// Whether the registry has no TLS.
    pub plain_http: bool,
}

/// What can go wrong with a pin.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file system refused.
    #[error("cannot {act} `{}`", .path.display())]
    Io {
        /// What was tried: `read`, `write`.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says something that it cannot say.
    #[error("`{}`, line {line}, column {column}: {message}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A reference without a digest.
    #[error("`{}` names `{artifact}` without a digest, which may mean another artifact tomorrow; `parbake pin --update` adds it", .path.display())]
    Unpinned {
        /// The file.
        path: PathBuf,
        /// What it names.
        artifact: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    artifact: Reference,
    #[serde(default)]
    plain_http: bool,
}

impl Pin {
    /// The pin of the project that `dir` is in; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn find(dir: &Path) -> Result<Option<Self>, PinError> {
        for dir in dir.ancestors() {
            let path = dir.join(FILE);
            match fs::read_to_string(&path) {
                Ok(text) => return Self::parse(&path, &text).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(PinError::Io {
                        act: "read",
                        path,
                        source,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Reads the `text` of the file at `path`.
    ///
    /// # Errors
    /// Says where something is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PinError> {
        let document: Document =
            toml::from_str(text).map_err(|error| wrong(path, text, error.span(), error.message()))?;
        Ok(Self {
            path: path.to_owned(),
            artifact: document.artifact,
            plain_http: document.plain_http,
        })
    }

    /// The digest that is pinned.
    ///
    /// # Errors
    /// [`PinError::Unpinned`] when there is none.
    pub fn digest(&self) -> Result<&Digest, PinError> {
        self.artifact.digest().ok_or_else(|| PinError::Unpinned {
            path: self.path.clone(),
            artifact: self.artifact.to_string(),
        })
    }
}

/// The error that a TOML parser has with `text`.
fn wrong(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> PinError {
    let (line, column) = position(text, span.unwrap_or_default());
    PinError::Content {
        path: path.to_owned(),
        line,
        column,
        message: message.trim_end().to_owned(),
    }
}

/// Line and column of the start of `span`, from 1; a column counts characters.
fn position(text: &str, span: Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests;
