//! Failures of source `release`.

use std::path::PathBuf;

use parbake_artifact::http::HttpError;

use super::super::error::Error;

/// Why a published file or image could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(
        "the lock of `{provider}` does not pin {what} for source `release`; \
         run `parbake provider update {provider} --only release`, with `--binary-mirror` and `--image-mirror` where only \
         mirrors can be reached"
    )]
    NotPinned { provider: String, what: String },
    #[error(
        "the provider file does not say where `{binary}` is published; add it to `[release]`, or use `--source auto`, which \
         builds it"
    )]
    NoLocation { binary: String },
    #[error(
        "`{name}` does not have the digest in the lock `{}`; if it was published again, run `parbake provider update`",
        lock.display()
    )]
    WrongDigest {
        /// A URL or the full name of an image.
        name: String,
        lock: PathBuf,
        #[source]
        source: Box<Error>,
    },
    #[error("the archive `{url}` has no file `{name}`")]
    NotInArchive { url: String, name: String },
    #[error("`{url}` has no SHA-256 digest of 64 hexadecimal digits")]
    NoDigest { url: String },
    /// In the provider file or the lock.
    #[error("`{url}` is not a URL")]
    Url { url: String },
    #[error("`{host}` did not answer within {seconds} s")]
    Timeout { host: String, seconds: u64 },
}
