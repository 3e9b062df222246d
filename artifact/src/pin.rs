//! `parbake.toml`: the artifact of a project.
//!
//! ```toml
//! # What `parbake up` starts here; `parbake pin --update` renews it.
//! artifact = "registry.example.org/clusters/k8s-1.34:latest@sha256:..."
//! plain-http = true    # only for a registry without TLS
//! ```
//!
//! The digest pins the artifact; updates are looked for under the tag. As with Cargo, the file is that of the directory or of
//! its nearest ancestor that has one.

mod write;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::reference::Reference;

pub use write::write;

pub const FILE: &str = "parbake.toml";

/// A project's pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub path: PathBuf,
    pub artifact: Reference,
    /// True if the registry has no TLS.
    pub plain_http: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("cannot {act} `{}`", .path.display())]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{}`, line {line}, column {column}: {message}", .path.display())]
    Content {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    #[error("`{}` names `{artifact}` without a digest, so the artifact can change; add it with `parbake pin --update`", .path.display())]
    Unpinned { path: PathBuf, artifact: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    artifact: Reference,
    #[serde(default)]
    plain_http: bool,
}

impl Pin {
    /// The pin of the project that `dir` is in, if it has one.
    ///
    /// # Errors
    /// The file cannot be read or is not valid.
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

    /// Parses the `text` of the file at `path`.
    ///
    /// # Errors
    /// [`PinError::Content`] with line and column.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PinError> {
        let document: Document =
            toml::from_str(text).map_err(|error| content_error(path, text, error.span(), error.message()))?;
        Ok(Self {
            path: path.to_owned(),
            artifact: document.artifact,
            plain_http: document.plain_http,
        })
    }

    /// The pinned digest.
    ///
    /// # Errors
    /// [`PinError::Unpinned`] if there is none.
    pub fn digest(&self) -> Result<&Digest, PinError> {
        self.artifact.digest().ok_or_else(|| PinError::Unpinned {
            path: self.path.clone(),
            artifact: self.artifact.to_string(),
        })
    }
}

/// The error of a TOML parser in `text`.
fn content_error(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> PinError {
    let (line, column) = position(text, span.unwrap_or_default());
    PinError::Content {
        path: path.to_owned(),
        line,
        column,
        message: message.trim_end().to_owned(),
    }
}

/// Line and column of the start of `span`, from 1; columns count characters.
fn position(text: &str, span: Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests;
