//! Failures of source `release`.

use parbake_artifact::http::HttpError;

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
        "the provider file does not say where `{binary}` is published; add it to `[release]`, or use \
         `--source modules`"
    )]
    NoLocation { binary: String },
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
