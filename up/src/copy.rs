//! Files and directories into a node and out of it, as tar streams.
//!
//! What is copied is put beside its place first, in a directory `.parbake-cp.*`, and moved there when all of it has come.
//! Inside a node everything is done by programs in the node's own root, so that no symbolic link there leads out of it;
//! on the host nothing is unpacked outside of that directory, whatever the node sends.

mod endpoint;
mod from_node;
mod into_node;

use std::path::PathBuf;

use serde::Serialize;

pub use crate::error::CopyError;
pub use endpoint::Endpoint;

use crate::{Cluster, Error};

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Where it is now.
    pub to: PathBuf,
    /// How many files, directories and links.
    pub entries: u64,
    /// The bytes of the files.
    pub bytes: u64,
    /// What is no file, directory or link, and stayed behind.
    #[serde(rename = "left_out")]
    pub skipped: Vec<PathBuf>,
}

/// Copies the file or directory `from` to `to`: into it where that is a directory, or else as it. Modes stay, and links
/// that are below `from`; owners do not: all belongs to whoever runs this, to root in a node. Out of a node come no
/// set-user-ID and set-group-ID bits. A file replaces a file, a directory nothing.
///
/// # Errors
/// Not exactly one of both is on a node; there is nothing at `from`, or no directory for `to`, or something in the way.
/// Nothing is changed then.
pub fn copy(cluster: &Cluster, from: &Endpoint, to: &Endpoint) -> Result<Copied, Error> {
    match (from, to) {
        (Endpoint::Host(from), Endpoint::Node(node, to)) => into_node::copy(cluster, from, node, to),
        (Endpoint::Node(node, from), Endpoint::Host(to)) => from_node::copy(cluster, node, from, to),
        (Endpoint::Host(_), Endpoint::Host(_)) | (Endpoint::Node(..), Endpoint::Node(..)) => {
            Err(CopyError::Ends.into())
        }
    }
}
