//! What a bake and a thaw both know of a Kubernetes cluster: its description, its API, readiness.
//!
//! [`Description`] is the value that travels in the artifact. Everything else talks to a running cluster
//! through its API: [`readiness`] waits until it is honestly ready, [`cleanup`], [`ca_publish`], [`purge`]
//! and [`pod_security`] change what the database remembers, [`join`], [`drain`] and [`hosts`] who belongs to the cluster,
//! [`summary`] and [`in_flight`] report, [`workload`] and [`probe`] try the cluster out, [`rollout`] and [`pod_images`] look at what was
//! deployed, [`swap`] at what programs run. [`sanitize_files`] takes care of the files of machines that are to be frozen. What
//! differs between versions of Kubernetes is in [`version_compat`] alone.

mod addressing;
mod api_error;
pub mod builtin_services;
pub mod ca_publish;
pub mod cleanup;
pub mod client;
mod container_runtime;
mod description;
pub mod diagnostics;
pub mod drain;
pub mod head_start;
pub mod hosts;
pub mod in_flight;
pub mod join;
pub mod labels_and_taints;
pub mod launch;
pub mod machine_plan;
mod name;
pub mod pod_images;
pub mod pod_security;
pub mod probe;
pub mod purge;
pub mod readiness;
pub mod rollout;
pub mod runtime_config;
pub mod sanitize_files;
pub mod services;
mod shutdown;
pub mod summary;
pub mod swap;
pub mod tokens;
pub mod toml_document;
mod version;
pub mod version_compat;
pub mod wait;
pub mod workload;

pub use addressing::{IpFamilies, Subnets};
pub use api_error::ApiError;
pub use builtin_services::Offered;
pub use client::{connect, connect_file};
pub use container_runtime::{ContainerRuntime, RuntimeProfile, UnknownRuntime};
pub use description::{
    BrokenDescription, Description, DescriptionError, Family, Networks, Node, Place, Role,
};
pub use kube::Client;
pub use name::{ClusterDomain, InvalidName, NodeName};
pub use version::{InvalidVersion, KubernetesVersion};
