//! What a bake and a thaw both know of a Kubernetes cluster: its description, its API, readiness.
//!
//! [`Description`] is the value that travels in the artifact. Everything else talks to a running cluster
//! through its API: [`readiness`] waits until it is honestly ready, [`cleanup`], [`trust`], [`settle`]
//! and [`pod_security`] change what the database remembers, [`join`], [`drain`] and [`hosts`] who belongs to the cluster,
//! [`summary`] and [`in_flight`] report, [`workload`] and [`probe`] try the cluster out, [`rollout`] and [`pod_images`] look at what was
//! deployed, [`swap`] at what programs run. [`scrub`] takes care of the files of machines that are to be frozen. What
//! differs between versions of Kubernetes is in [`dialect`] alone.

mod api_error;
pub mod cleanup;
pub mod client;
mod container_runtime;
mod description;
pub mod dialect;
pub mod drain;
mod farewell;
pub mod head_start;
pub mod hosts;
pub mod in_flight;
pub mod join;
pub mod machines;
pub mod marks;
mod name;
pub mod offered;
mod plan;
pub mod pod_images;
pub mod pod_security;
pub mod probe;
pub mod problem;
pub mod readiness;
pub mod rollout;
pub mod runtime;
pub mod scrub;
pub mod services;
pub mod settle;
pub mod summary;
pub mod swap;
pub mod tokens;
pub mod trust;
mod version;
pub mod wait;
pub mod workload;

pub use api_error::ApiError;
pub use client::{connect, connect_file};
pub use container_runtime::{Answers, ContainerRuntime, UnknownRuntime};
pub use description::{
    BrokenDescription, Description, DescriptionError, Family, Networks, Node, Place, Role,
};
pub use kube::Client;
pub use name::{ClusterDomain, InvalidName, NodeName};
pub use offered::Offered;
pub use plan::{Stacks, Subnets};
pub use version::{InvalidVersion, KubernetesVersion};
