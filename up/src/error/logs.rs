//! Errors of [`crate::logs`].

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("`{}` already exists; remove it, or export to another path", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    File(#[from] parbake_machine::Error),
    /// The consumer of the lines failed.
    #[error("could not print the logs")]
    Output(#[source] io::Error),
}
