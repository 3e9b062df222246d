//! One machine, and the few of them that make a cluster: overlay, namespaces, cgroups, network, boot, exec, stop.
//!
//! This crate is the only home of namespaces, mounts and child processes ([`process`]). [`running::Running::start`]
//! takes a [`plan::Plan`], and a [`supervisor`] process runs it; [`control`] has machines come and go meanwhile. [`host`] says what is different on which host.

mod balance;
pub mod boot;
pub mod cgroup;
pub mod control;
pub mod dirs;
pub mod executable;
pub mod files;
mod forward;
mod hold;
pub mod host;
pub mod in_memory;
mod members;
pub mod memory;
pub mod netns;
pub mod network;
pub mod overlay;
pub mod pause;
pub mod pid;
pub mod plan;
pub mod pods;
pub mod process;
mod relay;
pub mod root;
pub mod running;
pub mod span;
pub mod supervisor;
pub mod sysctl;
