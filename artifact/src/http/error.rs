//! Failures of HTTP requests and downloads.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;

/// Why a request to a registry or web server failed.
///
/// `server` reads like "the registry `HOST`", `action` like "send layer `os`".
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot read the certificates in `{}`", .path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error("cannot set up HTTP; check the certificates of `--ca-file` and of this host")]
    Client(#[source] reqwest::Error),
    #[error("the environment variable `{variable}` is not the URL of a proxy: {problem}")]
    Proxy {
        /// In upper case; the lower-case variable is read, too.
        variable: &'static str,
        problem: String,
    },
    #[error("cannot use the credentials in `{}`", .path.display())]
    CredentialFile {
        path: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("cannot get the credential for `{registry}` that `{}` names: {problem}", .path.display())]
    Credential {
        path: PathBuf,
        registry: String,
        problem: String,
    },
    /// No connection, or no TLS session that this host trusts.
    #[error("cannot reach {server}{hint}")]
    Unreachable {
        server: String,
        hint: &'static str,
        is_transient: bool,
        source: reqwest::Error,
    },
    /// 401 or 403.
    #[error("{server} refuses to {action}: status {status}{}; {credentials}", in_parentheses(.message))]
    Denied {
        server: String,
        action: String,
        status: u16,
        message: String,
        /// The credential that was used, or where none was found.
        credentials: String,
    },
    /// 404.
    #[error("{server} could not {action}: not found{}; {hint}", in_parentheses(.message))]
    NotFound {
        server: String,
        action: String,
        message: String,
        hint: &'static str,
    },
    #[error(
        "{server} could not {action}: status {status}{}{}{}",
        in_parentheses(.message),
        retry_request(.retry_after.as_ref()),
        if *status == 413 { TOO_LARGE_HINT } else { "" }
    )]
    Status {
        server: String,
        action: String,
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    /// An upload that the server no longer knows.
    #[error(
        "{server} could not {action}: it lost the upload (status {status}); if several servers share its address, they have \
         to share their state"
    )]
    UploadLost {
        server: String,
        action: String,
        status: u16,
    },
    #[error("could not get a token for {server} from `{realm}`: {problem}")]
    Token {
        server: String,
        realm: String,
        problem: String,
    },
    #[error("lost the connection to {server}: could not {action}")]
    Interrupted {
        server: String,
        action: String,
        source: io::Error,
    },
    #[error("{server} sent an answer that cannot be used: could not {action}: {problem}")]
    Protocol {
        server: String,
        action: String,
        problem: &'static str,
    },
    #[error(
        "{server} has another length for {what} than the manifest says: {found} bytes, not {expected}; publish it again"
    )]
    Length {
        server: String,
        what: String,
        /// A lower bound where the transfer was aborted.
        found: u64,
        expected: u64,
    },
    #[error("{server} sent more than {limit} bytes for {what}")]
    TooLarge {
        server: String,
        what: String,
        limit: u64,
    },
    #[error(
        "{server} sent wrong data for {what}: its digest is {found}, not {expected}; the data was discarded"
    )]
    Digest {
        server: String,
        what: String,
        expected: Digest,
        found: Digest,
    },
    #[error("could not {action} `{}`", .path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Follows status 413, which registries themselves do not send.
const TOO_LARGE_HINT: &str = "; a proxy in front of it limits the size of requests: raise that limit, which is \
     `client_max_body_size` in nginx";

impl HttpError {
    /// For `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// True if the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { is_transient, .. } => *is_transient,
            Self::Interrupted { .. } | Self::UploadLost { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504 | 506..=599),
            _ => false,
        }
    }

    /// True if no credential could be read, or none was given by a helper.
    pub(crate) fn is_credential(&self) -> bool {
        matches!(self, Self::Credential { .. } | Self::CredentialFile { .. })
    }

    /// The delay that the server asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Denied { status, .. } | Self::Status { status, .. } => Some(*status),
            Self::NotFound { .. } => Some(404),
            _ => None,
        }
    }
}

/// The first line of `message`, shortened: proxies answer with whole pages.
fn in_parentheses(message: &str) -> String {
    match message.trim().lines().next() {
        Some(line) => format!(" ({})", line.chars().take(200).collect::<String>()),
        None => String::new(),
    }
}

fn retry_request(delay: Option<&Duration>) -> String {
    delay
        .map(|delay| format!("; it asks to retry after {} s", delay.as_secs()))
        .unwrap_or_default()
}

/// An error and its causes.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::{HttpError, in_parentheses};

    #[test]
    fn only_temporary_statuses_are_transient() {
        let error = |status| HttpError::Status {
            server: "the registry `example.org`".to_owned(),
            action: "read it".to_owned(),
            status,
            retry_after: None,
            message: String::new(),
        };
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(error(status).is_transient(), "{status}");
        }
        for status in [400, 405, 416, 501, 505] {
            assert!(!error(status).is_transient(), "{status}");
        }
    }

    #[test]
    fn message_is_cut_to_one_short_line() {
        assert_eq!(in_parentheses(" \n"), "");
        assert_eq!(in_parentheses("slow down\n<html>"), " (slow down)");
        assert_eq!(in_parentheses(&"x".repeat(1000)).len(), 203);
    }
}
