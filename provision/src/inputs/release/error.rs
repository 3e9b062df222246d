//! What can go wrong with what is published.

use std::io;

use parbake_artifact::Digest;

/// Why something that is published cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The lock says nothing of it.
    #[error(
        "the lock of `{provider}` does not pin {what} for source `release`; \
         `parbake provider update {provider} --only release` pins all that is published, through \
         `--binary-mirror` and `--image-mirror` where only mirrors can be reached"
    )]
    NotPinned {
        /// Whose lock it is.
        provider: String,
        /// What is missing.
        what: String,
    },
    /// The provider file says nothing of it.
    #[error(
        "the provider file does not say where `{binary}` is published; name the place in `[release]`, or use \
         `--source modules`"
    )]
    NoPlace {
        /// The binary.
        binary: String,
    },
    /// 404.
    #[error("`{url}` is not there; is the version published, and does the mirror have it?")]
    Missing {
        /// Where it should be.
        url: String,
    },
    /// Another status that says no.
    #[error("`{url}` cannot be had: status {status}{}", refused(*status))]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Nobody answers, or nobody whom this host trusts.
    #[error("cannot reach `{url}`; `--binary-mirror` names another place, `--ca-file` whom to trust")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A transfer that broke off.
    #[error("`{url}` broke off; the next try goes on where it was")]
    Broken {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than any binary has.
    #[error("`{url}` is larger than any binary: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// Other bytes than were pinned.
    #[error("`{url}` has the digest {found}, not {expected} as pinned; nothing of it was used")]
    Wrong {
        /// What was asked for.
        url: String,
        /// The pinned digest.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// An archive without the binary.
    #[error("the archive `{url}` has no file `{name}`")]
    NoMember {
        /// The archive.
        url: String,
        /// The binary.
        name: String,
    },
    /// A file of digests without one.
    #[error("`{url}` has no SHA-256 digest of 64 hexadecimal digits")]
    NoDigest {
        /// The file.
        url: String,
    },
    /// Where it is published is no URL.
    #[error("`{url}` is no URL")]
    Url {
        /// What stands in the provider file.
        url: String,
    },
    /// It took too long to find out.
    #[error("`{host}` did not answer within {seconds} s")]
    Silent {
        /// Who was asked.
        host: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

fn refused(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; credentials for the host come from the files that `skopeo login` and `docker login` write"
        }
        _ => "",
    }
}

impl ReleaseError {
    /// Whether trying again may help.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_builder() && !source.is_redirect(),
            Self::Broken { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500..),
            _ => false,
        }
    }
}
