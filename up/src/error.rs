//! The error of operations on clusters.

mod copy;
mod kubeconfig;
mod logs;
mod swap;

use std::path::PathBuf;

use parbake_artifact::images::ImageError;
use parbake_artifact::{PolicyError, StoreError, Tag};
use parbake_cluster::{DescriptionError, NodeName, wait};

use crate::config::ConfigError;
use crate::diagnosis::Diagnosis;
use crate::identity::IdentityError;
use crate::name::ClusterName;
pub use copy::CopyError;
pub use kubeconfig::KubeconfigError;
pub use logs::LogsError;
pub use swap::SwapError;

/// An operation on a cluster that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The host and the artifact.
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    #[error(transparent)]
    Cluster(#[from] parbake_cluster::Error),
    #[error("could not resolve the state directory `{}`", path.display())]
    StateDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "`--internet` needs IPv4, and the cluster has IPv6 only; leave it out, or bake the cluster with `--stack dual`"
    )]
    InternetNeedsIpv4,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signature policy of the host rejects the artifact.
    #[error(transparent)]
    Policy(#[from] Box<PolicyError>),
    #[error("the artifact has no layers for node `{0}`; remove it and provision or pull it again")]
    NoLayers(String),
    #[error("the artifact contains no kubectl; use your own with `parbake kubeconfig`")]
    NoKubectl,
    #[error("the artifact contains no `{tool}`, so its database cannot be rewritten; provision it again")]
    NoEtcdTool { tool: &'static str },
    #[error(
        "the cluster `{name}` has no registry because its artifact was baked without one; load images with \
         `parbake image load`, or bake again with `registry = true` in `[services]` of the provider"
    )]
    NoRegistry { name: ClusterName },
    #[error(transparent)]
    NodeCount(#[from] DescriptionError),

    // The cluster's state.
    #[error(
        "there is a cluster `{name}` already; `parbake start --name {name}` starts it if it is stopped; \
         remove it with `parbake down --name {name}`, or choose another `--name`"
    )]
    AlreadyExists { name: ClusterName },
    #[error("there is no cluster `{name}`; `parbake up` starts one, `parbake list` shows those there are")]
    NotFound { name: ClusterName },
    #[error("the cluster `{name}` is not running; start it with `parbake start --name {name}`")]
    NotRunning { name: ClusterName },
    #[error("the cluster `{name}` is paused; resume it with `parbake unpause --name {name}`")]
    Paused { name: ClusterName },
    #[error("the cluster `{name}` is being stopped; wait for it")]
    Stopping { name: ClusterName },
    #[error("another command is at work on the cluster `{name}`; wait for it")]
    Busy { name: ClusterName },
    #[error(
        "the first start of the cluster `{name}` did not finish; remove it with `parbake down --name {name}`"
    )]
    Unfinished { name: ClusterName },
    #[error("could not read the cluster's state `{}`", path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the cluster's state `{}` has the unsupported version {found}; use the parbake that wrote it", path.display())]
    Version { path: PathBuf, found: u32 },

    // Starts and stops.
    /// The cluster did not become ready in time and was removed or stopped.
    #[error("{timed_out}{diagnosis}")]
    NotReady {
        timed_out: wait::TimedOut,
        diagnosis: Diagnosis,
    },
    /// A restarted cluster did not become ready in time. It keeps running.
    #[error(
        "{timed_out}{diagnosis}\nthe cluster is still running: `parbake status --name {name}` shows its state, \
         `parbake stop --name {name}` stops it"
    )]
    RunningNotReady {
        name: ClusterName,
        timed_out: wait::TimedOut,
        diagnosis: Diagnosis,
    },
    #[error("interrupted before the cluster was ready")]
    Interrupted,
    #[error(
        "`{node}` could not save the memory of etcd and falls back to the data of its last start, most likely because the \
         disk is full; see `{}`",
        log.display()
    )]
    EtcdStateLost { node: NodeName, log: PathBuf },
    #[error("could not create the cluster's new identity")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    TimedOut(#[from] wait::TimedOut),

    // Freezes.
    #[error("there is an artifact `{tag}` already; choose another name, or replace it with `--force`")]
    TagExists { tag: Tag },
    #[error("could not freeze the cluster `{name}`: its API does not answer")]
    ApiUnavailable {
        name: ClusterName,
        #[source]
        source: parbake_cluster::Error,
    },
    #[error("interrupted; the cluster keeps running, and nothing is left of the freeze")]
    FreezeInterrupted,
    #[error("could not read the static pod manifest `{}`", path.display())]
    StaticPod {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("`{program}` exited unexpectedly")]
    ProgramExited {
        program: &'static str,
        /// `None` if it exited with status 0.
        #[source]
        source: Option<parbake_machine::Error>,
    },

    // Nodes.
    #[error(
        "node `{node}` holds the control plane and cannot be removed; `parbake down` removes the whole cluster"
    )]
    NodeIsControlPlane { node: NodeName },
    #[error("there is no node `{name}`; the nodes are {}", known.join(", "))]
    NodeNotFound { name: NodeName, known: Vec<String> },
    #[error("interrupted; the cluster has the same nodes as before")]
    NodeChangeInterrupted,

    // Other commands.
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("could not load images into node `{node}`")]
    LoadImages {
        node: String,
        #[source]
        source: parbake_machine::Error,
    },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Logs(#[from] LogsError),
    #[error(transparent)]
    Swap(#[from] SwapError),
}

impl Error {
    /// The node `name` is not one of `known`.
    pub(crate) fn node_not_found<'a>(name: &NodeName, known: impl IntoIterator<Item = &'a NodeName>) -> Self {
        Self::NodeNotFound {
            name: name.clone(),
            known: known.into_iter().map(ToString::to_string).collect(),
        }
    }
}
