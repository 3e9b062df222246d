//! What an artifact must not hold: removed before a freeze, made again by every thaw.

pub mod ca_publish;
pub mod node_files;
pub mod purge;
pub mod tokens;
