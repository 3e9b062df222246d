//! Errors of [`crate::copy`].

use std::io;
use std::path::{Path, PathBuf};

/// Exit status of the scripts on a node when they refuse a copy; the reason is the last line of standard error.
const REFUSED: i32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("exactly one side must be `NODE:PATH`, such as `node01:/etc/hosts`")]
    Endpoints,
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot copy {direction} `{node}`: {why}")]
    Refused {
        /// `to` or `from`.
        direction: &'static str,
        node: String,
        why: String,
    },
    #[error("could not copy {direction} `{node}`")]
    Node {
        /// `to` or `from`.
        direction: &'static str,
        node: String,
        #[source]
        source: parbake_machine::Error,
    },
}

impl CopyError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    /// The failure of a script on a node: its own message if it refused the copy.
    pub(crate) fn on_node(
        direction: &'static str,
        node: &str,
    ) -> impl FnOnce(parbake_machine::Error) -> Self {
        let node = node.to_owned();
        move |source| match source {
            parbake_machine::Error::Failed { status, tail, .. } if status.code() == Some(REFUSED) => {
                Self::Refused {
                    direction,
                    node,
                    why: tail.lines().last().unwrap_or_default().to_owned(),
                }
            }
            source => Self::Node {
                direction,
                node,
                source,
            },
        }
    }
}
