//! A machine's files: its own directory, its root and the mounts in it.

pub mod dirs;
pub mod files;
pub(crate) mod mount;
pub mod overlay;
pub mod root;
pub mod tmpfs;

pub use dirs::Dirs;
