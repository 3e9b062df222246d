//! The error of every operation on a cluster.

use std::io;
use std::path::PathBuf;

use kube::config::KubeconfigError;

use crate::wait::{TimedOut, one_line};

/// An operation on a cluster that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the API failed.
    #[error("could not {act}")]
    Api {
        act: String,
        #[source]
        answer: Answer,
    },
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    #[error("the artifact's description of its cluster is invalid")]
    Description(#[source] serde_json::Error),
    #[error(
        "the kubelet of Kubernetes {version} supports only cgroup v1, and this host has only cgroup v2; boot it with \
         `systemd.unified_cgroup_hierarchy=0`, or use Kubernetes 1.19 or newer"
    )]
    CgroupVersion { version: String },
    #[error(
        "Kubernetes {version} does not support dual-stack clusters; use either IPv4 or IPv6, or Kubernetes 1.21 or newer"
    )]
    DualStack { version: String },
    #[error("could not read the configuration of the container runtime, `{}`", path.display())]
    RuntimeConfig {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not list the image layers of node `{node}`")]
    ImageLayers {
        node: String,
        #[source]
        source: io::Error,
    },
    #[error("could not read the kubeconfig `{}`", path.display())]
    ReadKubeconfig {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kubeconfig is invalid")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    #[error("could not create an API client from the kubeconfig")]
    Client(#[source] Box<kube::Error>),
    /// Draining a node would delete pods for good.
    #[error(
        "no controller would recreate {} of node `{node}`; delete what is not needed, or use `--force`",
        pods.join(", ")
    )]
    UnmanagedPods {
        node: String,
        /// `NAMESPACE/NAME` of each, in backticks.
        pods: Vec<String>,
    },
    /// A command on a node failed.
    #[error("could not {act} on node `{node}`")]
    OnNode {
        act: &'static str,
        node: String,
        #[source]
        source: parbake_machine::Error,
    },
    /// A command, a file operation or a machine failed.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    #[error("the cluster's own kubeconfig has no certificate authority")]
    NoCertificateAuthority,
    #[error("could not generate a bootstrap token")]
    BootstrapToken(#[source] getrandom::Error),
    #[error(
        "there is no service `{service}` with an address and a TCP port; `parbake ports` lists all services"
    )]
    UnknownService { service: String },
    #[error("`{service}` has several ports; choose one of {}", ports.join(", "))]
    AmbiguousService { service: String, ports: Vec<String> },
    #[error("the deployment `{deployment}` has no container image")]
    NoImage { deployment: String },
    #[error("the service `{service}` has no address")]
    NoAddress { service: String },
}

/// The API's answer as one readable line: the client's own errors print whole structures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Answer(pub(crate) String);

impl Error {
    /// The error and its sources in one line, for [`TimedOut::last`].
    pub fn line(&self) -> String {
        one_line(self)
    }
}
