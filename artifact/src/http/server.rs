//! Turning answers and failures of a server into errors that name it.

use std::error::Error;
use std::io;
use std::iter::successors;

use jiff::Timestamp;
use reqwest::Response;
use serde::Deserialize;

use super::HttpError;
use super::retry::retry_after;

/// How much of the body of a failed request is read, in bytes.
const MAX_MESSAGE: usize = 4096;

/// A registry's error document (OCI distribution-spec 1.1, "Error Codes").
#[derive(Deserialize)]
struct ErrorDocument {
    errors: Vec<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    message: String,
}

/// Advice in error messages.
#[derive(Debug, Clone, Copy)]
pub struct Hints {
    /// Appended to "cannot reach SERVER".
    pub unreachable: &'static str,
    /// Appended instead of `unreachable` if TLS failed.
    pub tls: &'static str,
    /// Follows "not found; ".
    pub not_found: &'static str,
}

/// A server as error messages describe it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// For example "the registry `HOST`".
    pub(crate) name: String,
    /// Which credential requests carry, or where none was found.
    pub(crate) credentials: String,
    pub(crate) hints: Hints,
}

impl Server {
    /// A request that got no answer.
    pub(crate) fn unreachable(&self, source: reqwest::Error) -> HttpError {
        let is_tls = is_tls(&source);
        HttpError::Unreachable {
            server: self.name.clone(),
            hint: if is_tls {
                self.hints.tls
            } else {
                self.hints.unreachable
            },
            is_transient: !is_tls && !source.is_builder() && !source.is_redirect(),
            source: source.without_url(),
        }
    }

    /// A transfer that ended too early.
    pub(crate) fn interrupted(
        &self,
        action: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> HttpError {
        HttpError::Interrupted {
            server: self.name.clone(),
            action: action.to_owned(),
            source: io::Error::other(source),
        }
    }

    pub(crate) fn timed_out(&self, action: &str) -> HttpError {
        HttpError::Interrupted {
            server: self.name.clone(),
            action: action.to_owned(),
            source: io::ErrorKind::TimedOut.into(),
        }
    }

    pub(crate) fn protocol(&self, action: &str, problem: &'static str) -> HttpError {
        HttpError::Protocol {
            server: self.name.clone(),
            action: action.to_owned(),
            problem,
        }
    }

    /// The answer, if it is one of success.
    pub(crate) async fn check(&self, response: Response, action: &str) -> Result<Response, HttpError> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response, action).await)
    }

    /// The failure that an answer reports.
    pub(crate) async fn refused(&self, mut response: Response, action: &str) -> HttpError {
        let retry_after = retry_after(response.headers(), Timestamp::now());
        let mut body = Vec::new();
        // The status is enough if the body does not arrive.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MAX_MESSAGE {
                break;
            }
        }
        let (server, action, message) = (self.name.clone(), action.to_owned(), message(&body));
        match response.status().as_u16() {
            status @ (401 | 403) => HttpError::Denied {
                server,
                action,
                status,
                message,
                credentials: self.credentials.clone(),
            },
            404 => HttpError::NotFound {
                server,
                action,
                hint: self.hints.not_found,
            },
            status => HttpError::Status {
                server,
                action,
                status,
                message,
                retry_after,
            },
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read(
        &self,
        mut response: Response,
        what: &str,
        action: &str,
        limit: usize,
    ) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        let broken = |error: reqwest::Error| self.interrupted(action, error.without_url());
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge {
                    server: self.name.clone(),
                    what: what.to_owned(),
                    limit: limit as u64,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// The messages of an error document, or else the text itself.
fn message(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorDocument>(body) {
        Ok(document) => {
            let messages = document.errors.into_iter().map(|error| error.message);
            messages
                .filter(|message| !message.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// True if a server answered, but no TLS session came about.
fn is_tls(error: &reqwest::Error) -> bool {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |&error| error.source())
        .any(|error| error.downcast_ref().is_some_and(holds_tls_error))
}

/// Looks inside I/O errors, which do not report what they wrap as their source (`std::io::Error::get_ref`).
fn holds_tls_error(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.downcast_ref().is_some_and(holds_tls_error))
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn message_comes_from_error_document_or_text() {
        let document =
            br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"DENIED","message":"never"}]}"#;
        assert_eq!(message(document), "no, never");
        let unknown = br#"{"errors":[{"code":"SOMETHING_ELSE","message":"odd"}]}"#;
        assert_eq!(message(unknown), "odd");
        assert_eq!(message(b"slow down"), "slow down");
        assert_eq!(message(b""), "");
    }
}
