//! Copies files and directories into a node or out of it, as tar streams.
//!
//! The copy is unpacked in a directory `.parbake-cp.*` beside the destination and renamed when it is complete. Inside a node
//! this is done by programs in the node's own root, so that no symbolic link leads out of it. On the host nothing is
//! unpacked outside of that directory, whatever the node sends.

mod endpoint;
mod from_node;
mod into_node;

use std::path::PathBuf;

use serde::Serialize;

pub use crate::error::CopyError;
pub use endpoint::Endpoint;

use crate::{Cluster, Error};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// The path of the copy.
    pub to: PathBuf,
    /// The number of files, directories and links.
    pub entries: u64,
    /// The size of the files.
    pub bytes: u64,
    /// Devices, sockets and pipes, which are not copied.
    #[serde(rename = "left_out")]
    pub skipped: Vec<PathBuf>,
}

/// Copies the file or directory `from` into the directory `to`, or to the path `to` if that is no directory. Modes, holes of
/// sparse files and links below `from` are preserved. Owners are not: the copy belongs to the current user, in a node to
/// root. Set-user-ID and set-group-ID bits are dropped when copying to the host. A file replaces a file; a directory never
/// replaces anything.
///
/// # Errors
/// Not exactly one side is on a node, `from` does not exist, the directory of `to` does not exist, or `to` cannot be
/// replaced. Nothing is changed then.
pub fn copy(cluster: &Cluster, from: &Endpoint, to: &Endpoint) -> Result<Copied, Error> {
    match (from, to) {
        (Endpoint::Host(from), Endpoint::Node(node, to)) => into_node::copy(cluster, from, node, to),
        (Endpoint::Node(node, from), Endpoint::Host(to)) => from_node::copy(cluster, node, from, to),
        (Endpoint::Host(_), Endpoint::Host(_)) | (Endpoint::Node(..), Endpoint::Node(..)) => {
            Err(CopyError::Endpoints.into())
        }
    }
}
