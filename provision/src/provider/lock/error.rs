//! What can be wrong with a lock.

use std::io;
use std::path::PathBuf;

use super::VERSION;

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("could not read the lock `{}`; `parbake provider update {provider}` writes it", path.display())]
    Read {
        /// Whose lock it is.
        provider: String,
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is malformed.
    #[error("`{}` is not a valid lock; `parbake provider update {provider}` writes a new one", path.display())]
    Invalid {
        /// Whose lock it is.
        provider: String,
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Invalid>,
    },
    /// It could not be written.
    #[error("could not write the lock `{}`", path.display())]
    Write {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The provider file has changed since.
    #[error("the lock `{}` is out of date ({what}); run `parbake provider update {provider}`", path.display())]
    OutOfDate {
        /// Whose lock it is.
        provider: String,
        /// The lock.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

/// What is wrong with the text of a lock.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It is no TOML of this form.
    #[error(transparent)]
    Syntax(Box<toml::de::Error>),
    /// It is of another format.
    #[error("format version {0} is not supported; this parbake knows version {VERSION}")]
    Version(u32),
    /// A package's digest is none.
    #[error("package `{package}`: `{sha256}` is not a SHA-256 digest of 64 hexadecimal digits")]
    Digest {
        /// The package.
        package: String,
        /// What stands there.
        sha256: String,
    },
    /// A package's file is not below `pool/`.
    #[error("package `{package}`: `{filename}` is not the name of a file below `pool/`")]
    Filename {
        /// The package.
        package: String,
        /// What stands there.
        filename: String,
    },
    /// There are two packages of one name.
    #[error("there are two packages of the name `{0}`")]
    Twice(String),
    /// A set names a package that is not there.
    #[error("set `{set}` names the package `{package}`, which is not in the lock")]
    Unknown {
        /// The set.
        set: String,
        /// The package.
        package: String,
    },
}
