use std::io;
use std::path::PathBuf;

/// A lock that cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read the lock `{}`; run `parbake provider update {provider}` to create it", path.display())]
    Read {
        provider: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not a valid lock; run `parbake provider update {provider}` to recreate it", path.display())]
    Invalid {
        provider: String,
        path: PathBuf,
        #[source]
        source: InvalidLock,
    },
    #[error("could not write the lock `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The provider file or an add-on has changed since.
    #[error("the lock `{}` is out of date ({change}); run `parbake provider update {provider}`", path.display())]
    OutOfDate {
        provider: String,
        path: PathBuf,
        change: String,
    },
}

/// The first problem of a lock's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLock(pub(super) String);
