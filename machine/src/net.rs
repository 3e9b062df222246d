//! A cluster's network, and connections from and to the host.

mod change;
pub(crate) mod early_listener;
pub(crate) mod forward;
pub(crate) mod load_balancer;
mod netns;
pub(crate) mod network;
mod routes;
pub mod slirp;
pub mod sysctl;
mod tcp_proxy;

pub use forward::Forward;
pub use load_balancer::Balancer;
pub use netns::NetNs;
pub use network::{Endpoint, Network};
