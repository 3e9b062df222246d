//! Removing what an artifact must not hold before a freeze, and replacing it at every thaw.

pub mod ca_publish;
mod leases;
pub mod node_files;
pub mod purge;
pub mod tokens;
