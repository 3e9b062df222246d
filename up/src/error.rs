//! What can go wrong with a cluster.

use std::path::PathBuf;

use parbake_artifact::images::ImageError;
use parbake_artifact::{PolicyError, StoreError, Tag};
use parbake_cluster::client::ClientError;
use parbake_cluster::sanitize_files::ScrubError;
use parbake_cluster::version_compat::UnfitHost;
use parbake_cluster::{
    ApiError, BrokenDescription, DescriptionError, NodeName, cleanup, machine_plan, runtime_config, wait,
};
use parbake_machine::files;
use parbake_machine::host::HostError;
use parbake_machine::{handle, process, root, tmpfs};

use crate::config::ConfigError;
use crate::copy::CopyError;
use crate::kubeconfig::KubeconfigError;
use crate::logs::LogsError;
use crate::nodes::NodeError;
use crate::swap::SwapError;
use crate::{ClusterName, Diagnosis};

/// An operation on a cluster that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The artifact's version of Kubernetes cannot run on this host.
    #[error(transparent)]
    Unfit(#[from] UnfitHost),
    /// A way to the outside was asked for where nothing has an address that could take it.
    #[error(
        "the cluster has IPv6 alone, and a way to the outside leads out in IPv4; leave `--internet` out, or bake with \
         `--stack dual`"
    )]
    NoWayOut,
    /// The store failed, or has no such artifact.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's policy does not let the artifact start.
    #[error(transparent)]
    Policy(#[from] Box<PolicyError>),
    /// The artifact's description of its cluster makes no sense.
    #[error(transparent)]
    Artifact(#[from] BrokenDescription),
    /// The artifact lists no layers for one of its nodes.
    #[error("the artifact has no layers for node `{0}`; remove it and provision or pull it again")]
    NoLayers(String),
    /// No layer of the artifact holds a kubectl.
    #[error("the artifact came without kubectl; use your own with `parbake kubeconfig`")]
    NoKubectl,
    /// What a machine has in memory could not be copied.
    #[error(transparent)]
    InMemory(#[from] tmpfs::Error),
    /// What etcd had in memory could not be put back.
    #[error(
        "`{node}` lost what etcd had in memory, and has the data of the last start; `{}` says why, mostly that the disk is full",
        log.display()
    )]
    LostMemory {
        /// The node.
        node: NodeName,
        /// The supervisor's log.
        log: PathBuf,
    },
    /// The cluster has no registry.
    #[error(
        "the cluster `{name}` has no registry: its artifact was baked without one; `parbake image load` needs none, or \
         bake anew, with `registry = true` in `[services]` of the provider"
    )]
    NoRegistry {
        /// The name.
        name: ClusterName,
    },
    /// The artifact cannot run with so many nodes.
    #[error(transparent)]
    Nodes(#[from] DescriptionError),
    /// There is a cluster of this name.
    #[error(
        "there is a cluster `{name}` already; `parbake start --name {name}` starts it if it does not run; \
         remove it with `parbake down --name {name}`, or choose another `--name`"
    )]
    Taken {
        /// The name.
        name: ClusterName,
    },
    /// There is no cluster of this name.
    #[error("there is no cluster `{name}`; `parbake up` starts one, `parbake list` shows those there are")]
    NotFound {
        /// The name.
        name: ClusterName,
    },
    /// The cluster's machines do not run.
    #[error("the cluster `{name}` does not run; start it with `parbake start --name {name}`")]
    NotRunning {
        /// The name.
        name: ClusterName,
    },
    /// The cluster's machines stand still.
    #[error("the cluster `{name}` is paused; let it go on with `parbake unpause --name {name}`")]
    Paused {
        /// The name.
        name: ClusterName,
    },
    /// The cluster's machines are being ended.
    #[error("the cluster `{name}` is being stopped; wait for it")]
    Stopping {
        /// The name.
        name: ClusterName,
    },
    /// A cluster that runs again, but not all of it is ready.
    #[error(
        "{timed_out}{diagnosis}\nit runs all the same: `parbake status --name {name}` shows how it is, \
         `parbake stop --name {name}` ends it"
    )]
    RunsUnready {
        /// The name.
        name: ClusterName,
        /// What was waited for.
        timed_out: wait::TimedOut,
        /// What the nodes had to say.
        diagnosis: Diagnosis,
    },
    /// Another command works on the cluster.
    #[error("another command is at work on the cluster `{name}`; wait for it")]
    Busy {
        /// The name.
        name: ClusterName,
    },
    /// The cluster's `up` was killed.
    #[error("the start of the cluster `{name}` was cut off; remove it with `parbake down --name {name}`")]
    Unfinished {
        /// The name.
        name: ClusterName,
    },
    /// There is an artifact of this name.
    #[error("there is an artifact `{tag}` already; choose another name, or replace it with `--force`")]
    TagTaken {
        /// The name.
        tag: Tag,
    },
    /// What a cluster has in flight can only be asked of its API.
    #[error("the API of the cluster `{name}` does not answer, so it cannot be frozen")]
    NoAnswer {
        /// The name.
        name: ClusterName,
        /// The request that failed.
        #[source]
        source: ApiError,
    },
    /// No layer of the artifact holds etcd's offline tool.
    #[error("the artifact came without {tool}, so its database cannot be written anew; provision it again")]
    NoEtcdTool {
        /// The tool.
        tool: &'static str,
    },
    /// A freeze was asked to end.
    #[error("interrupted; the cluster goes on, and nothing is left of the freeze")]
    FreezeInterrupted,
    /// etcd and the API server could not work alone.
    #[error(transparent)]
    Alone(#[from] crate::AloneError),
    /// Files could not be made fit to be frozen.
    #[error(transparent)]
    Scrub(#[from] ScrubError),
    /// The new identity could not be made.
    #[error("could not make the cluster's new identity")]
    Identity(#[from] crate::identity::IdentityError),
    /// The machines could not be planned.
    #[error(transparent)]
    Plan(#[from] machine_plan::Error),
    /// The container runtime's configuration is damaged.
    #[error(transparent)]
    Runtime(#[from] runtime_config::Error),
    /// The machines could not be run.
    #[error(transparent)]
    Machines(#[from] handle::Error),
    /// A command could not be run.
    #[error(transparent)]
    Command(#[from] process::Error),
    /// Files could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A user's kubeconfig could not be changed.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// Logs could not be shown or exported.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The cluster's configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of images cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A node did not take images; others may have.
    #[error("could not load into the node `{node}`")]
    Images {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: process::Error,
    },
    /// The cluster's API could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster's API refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The cluster did not become ready.
    #[error("{timed_out}{diagnosis}")]
    NotReady {
        /// What was waited for.
        timed_out: wait::TimedOut,
        /// What the nodes had to say.
        diagnosis: Diagnosis,
    },
    /// Somebody asked for an end.
    #[error("interrupted before the cluster was ready")]
    Interrupted,
    /// The files of the machines could not be made to last.
    #[error(transparent)]
    Root(#[from] root::Error),
    /// Something did not happen in time.
    #[error(transparent)]
    Publish(#[from] wait::TimedOut),
    /// Nodes could not be added or removed.
    #[error(transparent)]
    NodeChange(#[from] NodeError),
    /// Programs could not be swapped.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The nodes that do not run could not be taken out of the cluster.
    #[error(transparent)]
    Cleanup(#[from] cleanup::CleanupError),
    /// A file of the cluster's state could not be made, read or removed.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The state of a cluster is damaged.
    #[error("could not read the cluster's state `{}`", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The state of a cluster is from another parbake.
    #[error("the cluster's state `{}` has the unsupported version {found}; use the parbake that made it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
}
