//! One machine, and the few of them that make a cluster: overlay, namespaces, cgroups, network, boot, exec, stop.
//!
//! This crate is the only home of namespaces, mounts and child processes ([`process`]). [`handle::Running::start`]
//! takes a [`plan::Plan`], and a [`supervisor`] process runs it; [`control`] has machines come and go meanwhile. [`host`] says what is different on which host.

pub mod boot;
pub mod cgroup;
pub mod control;
pub mod dirs;
mod early_listener;
pub mod executable;
pub mod files;
mod forward;
pub mod handle;
pub mod host;
mod load_balancer;
mod machine_set;
pub mod malloc;
pub mod netns;
pub mod network;
pub mod overlay;
pub mod pause;
pub mod pid;
pub mod plan;
pub mod pods;
pub mod process;
pub mod root;
pub mod supervisor;
pub mod sysctl;
mod tcp_proxy;
pub mod timing;
pub mod tmpfs;
