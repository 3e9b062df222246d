//! What can go wrong with logs.

use std::io;
use std::path::{Path, PathBuf};

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
    #[error("could not {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody takes the lines that are shown.
    #[error("could not pass on what the nodes wrote")]
    Show(#[source] io::Error),
}

impl LogsError {
    pub(super) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }
}
