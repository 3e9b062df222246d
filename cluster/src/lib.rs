//! Everything that baking, thawing and freezing know about Kubernetes.
//!
//! - [`model`]: what a cluster is. [`Description`] is the value that an artifact carries; addresses, machine plans and the
//!   differences between Kubernetes versions and container runtimes follow from it. Pure functions, except where files of
//!   layers are read.
//! - [`api`]: requests to a running cluster, and commands on its nodes.
//! - [`etcd`]: requests to a running cluster's database.
//! - [`readiness`]: waiting until a cluster, or a part of it, is ready.
//! - [`sanitize`]: removing credentials and state before a freeze, and replacing them at a thaw.
//! - [`launch`]: starting the machines of a cluster.
//! - [`wait`]: polling with a deadline. [`toml_document`], [`diagnostics`]: reading TOML, and problems with line and column.
//! - [`workload`], [`probe`]: used by the benchmark only.

pub mod api;
pub mod diagnostics;
mod error;
pub mod etcd;
pub mod launch;
pub mod model;
pub mod probe;
pub mod readiness;
pub mod sanitize;
pub mod toml_document;
pub mod wait;
pub mod workload;

pub use api::client::{connect, connect_file};
pub use error::Error;
pub use kube::Client;
pub use model::addressing::{IpFamilies, Subnets};
pub use model::container_runtime::{ContainerRuntime, RuntimeProfile};
pub use model::description::{
    BuiltinServices, Description, DescriptionError, FamilyNetworks, Networks, Node, NodeAddresses, Role,
};
pub use model::invalid_value::InvalidValue;
pub use model::name::{ClusterDomain, NodeName};
pub use model::version::KubernetesVersion;
