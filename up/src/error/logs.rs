//! What can go wrong with logs.

use std::io;
use std::path::PathBuf;

use parbake_machine::files;

/// Logs that cannot be shown or exported.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// There is something in the place of the export.
    #[error("`{}` is there already; remove it, or export to another place", path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file of the export could not be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Nobody takes the lines that are shown.
    #[error("could not pass on what the nodes wrote")]
    Output(#[source] io::Error),
}
