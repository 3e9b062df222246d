//! What can go wrong with a user's kubeconfig.

use std::path::{Path, PathBuf};

use parbake_machine::files;

/// A kubeconfig that cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Nobody knows where the user's file is.
    #[error("neither `KUBECONFIG` nor `HOME` says where your kubeconfig is; name the file")]
    NoHome,
    /// The file is something else, or damaged.
    #[error("`{}` is left as it is, since it is no kubeconfig that could be changed: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another program is changing the file.
    #[error("`{}` is locked by `{}`; if no other program is at work on it, remove that", path.display(), lock.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The lock.
        lock: PathBuf,
    },
    /// The file cannot be read, locked or written.
    #[error(transparent)]
    File(#[from] files::Error),
}

impl KubeconfigError {
    pub(crate) fn of(path: &Path) -> impl FnOnce(String) -> Self {
        let path = path.to_owned();
        move |problem| Self::Content { path, problem }
    }
}
