//! What can go wrong with a copy.

use std::io;
use std::path::{Path, PathBuf};

use parbake_machine::process;

/// Exit status of the scripts on a node when they refuse a copy; the reason is the last line of standard error.
const REFUSED: i32 = 64;

/// Files that cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both are on the host, or both on nodes.
    #[error("one of both must be on a node, as in `node01:/etc/hosts`, and the other on this host")]
    Ends,
    /// What is to be copied cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is copied cannot be written here.
    #[error("could not write `{}`", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The place does not suit, here or on the node.
    #[error("cannot copy {direction} `{node}`: {why}")]
    Refused {
        /// `to` or `from`.
        direction: &'static str,
        /// The node.
        node: String,
        /// What is wrong.
        why: String,
    },
    /// The node's programs failed, or the data could not be passed on.
    #[error("could not copy {direction} `{node}`")]
    Node {
        /// `to` or `from`.
        direction: &'static str,
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: process::Error,
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

    /// What a script on a node ended with, as its own words where it has some.
    pub(crate) fn of_node(direction: &'static str, node: &str) -> impl FnOnce(process::Error) -> Self {
        let node = node.to_owned();
        move |source| match source {
            process::Error::Failed { status, tail, .. } if status.code() == Some(REFUSED) => Self::Refused {
                direction,
                node,
                why: tail.lines().last().unwrap_or_default().to_owned(),
            },
            source => Self::Node {
                direction,
                node,
                source,
            },
        }
    }
}
