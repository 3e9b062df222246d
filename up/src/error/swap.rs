//! Errors of [`crate::swap`].

use std::io;
use std::path::PathBuf;

use parbake_cluster::{NodeName, wait};

use crate::diagnosis::Diagnosis;

#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error("the program `{0}` is given twice")]
    Duplicate(String),
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot run on the nodes: {why}", path.display())]
    NotRunnable { path: PathBuf, why: String },
    #[error("`{}` does not run on `{node}`", path.display())]
    DoesNotRun {
        path: PathBuf,
        node: NodeName,
        #[source]
        source: parbake_machine::Error,
    },
    #[error(
        "the cluster has no program `{name}`; its images have {}, and nodes have kubelet, containerd and others installed",
        known.join(", ")
    )]
    Unknown {
        name: String,
        /// The programs in images.
        known: Vec<String>,
    },
    #[error("all nodes run `{0}` from one template; leave `--node` out")]
    RunsOnAllNodes(String),
    #[error("`{name}` is not on {}; leave `--node` out, or name another node", nodes.join(", "))]
    OtherNodes { name: String, nodes: Vec<String> },
    #[error("could not read the manifest `{path}` of `{node}`")]
    Manifest {
        path: String,
        node: NodeName,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not make a new image from `{image}`: {why}")]
    Image { image: String, why: String },
    #[error("could not {act} on `{node}`")]
    Node {
        /// A verb and its object.
        act: String,
        node: NodeName,
        #[source]
        source: parbake_machine::Error,
    },
    #[error("{timed_out}{diagnosis}")]
    NotReady {
        timed_out: wait::TimedOut,
        diagnosis: Diagnosis,
    },
    #[error("interrupted; the cluster has the same programs as before")]
    Interrupted,
}
