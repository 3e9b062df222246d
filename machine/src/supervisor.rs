//! The process that runs a cluster's machines, and its clients.
//!
//! [`Running::start`] starts a supervisor ([`supervise`]) and hands it a plan. The supervisor owns the cluster's mounts,
//! network, machines and ports, and writes its state to `supervisor.json`; [`Running::find`] reads it.

mod client;
mod control;
mod machine_set;
mod pause;
mod protocol;
mod server;

pub use client::{Running, Stopped};
pub use pause::PauseGuard;
pub use protocol::{LOG, State};
pub use server::supervise;
