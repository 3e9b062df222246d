//! Requests to the API of a running cluster, and commands on its nodes.

pub mod client;
pub mod drain;
pub mod etc_hosts;
pub mod join;
pub mod local_registry;
pub mod nodes;
pub(crate) mod objects;
pub mod pod_images;
pub mod pod_security;
pub(crate) mod response;
pub mod rollout;
pub mod services;
pub mod static_pod_prestart;
pub mod summary;
#[cfg(test)]
pub(crate) mod test_server;
pub mod unfinished;
pub mod workload_images;
