//! Errors of [`crate::kubeconfig`].

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("could not find your kubeconfig, since neither `KUBECONFIG` nor `HOME` is set; name the file")]
    NoHome,
    #[error("`{}` is not a regular file; name another kubeconfig, or unset `KUBECONFIG`", path.display())]
    NotRegular { path: PathBuf },
    #[error("`{}` does not belong to the user with id {owner}; name a file of that user", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("could not change `{}`, since it is not a valid kubeconfig: {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
    #[error("`{}` is locked; if no other program is using it, remove `{}` and try again", path.display(), lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
    #[error(transparent)]
    File(#[from] parbake_machine::Error),
}

impl KubeconfigError {
    pub(crate) fn invalid(path: &Path) -> impl FnOnce(String) -> Self {
        let path = path.to_owned();
        move |problem| Self::Invalid { path, problem }
    }
}
