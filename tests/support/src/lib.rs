//! What the end-to-end tests share: the state directory they work in, tools, and checks that hold on any cluster.

pub mod access;
pub mod events;
pub mod identity;
pub mod isolation;
pub mod leftovers;
pub mod other_state_dir;
pub mod place;
pub mod pseudo_terminal;
pub mod public_sites;
pub mod published;
pub mod registry;
pub mod secrets;
pub mod services;
pub mod swap;
pub mod tested;
pub mod variant;
pub mod workload;
