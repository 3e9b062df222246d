//! The description of a cluster, and everything that follows from it without a request to a running cluster.

pub(crate) mod addressing;
pub mod builtin_services;
pub mod container_runtime;
pub mod description;
pub(crate) mod invalid_value;
pub mod labels_and_taints;
pub mod machine_plan;
pub(crate) mod name;
pub mod runtime_config;
mod scale;
mod shutdown;
pub(crate) mod version;
pub mod version_compat;
