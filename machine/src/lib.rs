//! Machines: root file system, namespaces, cgroups, network, boot, commands, shutdown.
//!
//! The only crate that makes namespaces and mounts and starts child processes ([`process`]).
//! [`supervisor::Running::start`] takes a [`plan::Plan`] and starts a supervisor process that runs the machines.
//! [`host`] probes what differs between hosts.

pub mod boot;
pub mod cgroup;
mod error;
pub mod executable;
pub mod fs;
pub mod host;
pub mod malloc;
mod namespace;
pub mod net;
pub mod plan;
pub mod process;
pub mod supervisor;
pub mod timing;

pub use error::Error;
