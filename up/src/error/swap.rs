//! What can go wrong with a swap.

use std::io;
use std::path::PathBuf;

use parbake_cluster::{NodeName, wait};
use parbake_machine::process;

use crate::diagnosis::Diagnosis;

/// Programs that could not be swapped.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// A program that was given twice.
    #[error("the program `{0}` is given twice")]
    Twice(String),
    /// A file could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that nodes cannot run.
    #[error("`{}` cannot run on the nodes: {why}", path.display())]
    NotRunnable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was tried, and did not run.
    #[error("`{}` does not run on `{node}`", path.display())]
    Tried {
        /// The file.
        path: PathBuf,
        /// Where.
        node: NodeName,
        /// What it said.
        #[source]
        source: process::Error,
    },
    /// The cluster has no such program.
    #[error("the cluster has no program `{name}`; in images it has {}, and nodes have kubelet, containerd and others of their own", known.join(", "))]
    Unknown {
        /// What was given.
        name: String,
        /// The programs in images.
        known: Vec<String>,
    },
    /// All nodes run it from one template.
    #[error("all nodes run `{0}` from one template; leave `--node` out")]
    Everywhere(String),
    /// None of the nodes that were named has it.
    #[error("`{name}` is not on {}; leave `--node` out, or name another", nodes.join(", "))]
    Elsewhere {
        /// The program.
        name: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// A pod's manifest makes no sense.
    #[error("could not read the manifest `{path}` of `{node}`")]
    Manifest {
        /// The file.
        path: String,
        /// Whose it is.
        node: NodeName,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image that is none that a new one could be made from.
    #[error("could not make a new image from `{image}`: {why}")]
    Image {
        /// The image.
        image: String,
        /// Why.
        why: String,
    },
    /// A node could not be changed.
    #[error("could not {act} on `{node}`")]
    Node {
        /// What was tried.
        act: String,
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: process::Error,
    },
    /// What was swapped was not at work in time.
    #[error("{timed_out}{diagnosis}")]
    NotReady {
        /// What was waited for.
        timed_out: wait::TimedOut,
        /// What the nodes had to say.
        diagnosis: Diagnosis,
    },
    /// Somebody asked for an end.
    #[error("interrupted; the cluster has the programs that it had before")]
    Interrupted,
}
