//! Turning answers and failures of a server into errors that name it.

use std::error::Error;
use std::io::{self, Read};
use std::iter::successors;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
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
    code: String,
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
    /// Appended instead if the server's certificate is not valid at this time.
    pub expired: &'static str,
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
        let tls = tls_error(&source);
        HttpError::Unreachable {
            server: self.name.clone(),
            hint: match tls {
                Some(error) if is_outside_validity(error) => self.hints.expired,
                Some(_) => self.hints.tls,
                None => self.hints.unreachable,
            },
            is_transient: tls.is_none() && !source.is_builder() && !source.is_redirect(),
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
                message,
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
        let is_gzip = is_gzip(&response);
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
        if is_gzip {
            let (packed, mut plain) = (bytes, Vec::new());
            let mut decoder = GzDecoder::new(&packed[..]).take(limit as u64);
            let read = decoder.read_to_end(&mut plain);
            read.map_err(|error| self.interrupted(action, error))?;
            bytes = plain;
        }
        Ok(bytes)
    }
}

/// True if a proxy has compressed the answer, which no request asks for.
pub(super) fn is_gzip(response: &Response) -> bool {
    let encoding = response.headers().get(CONTENT_ENCODING);
    encoding.is_some_and(|encoding| encoding == "gzip" || encoding == "x-gzip")
}

/// The messages of an error document, or else the text itself.
fn message(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorDocument>(body) {
        Ok(document) => {
            let messages = document
                .errors
                .into_iter()
                .map(|error| match error.message.as_str() {
                    "" => error.code,
                    _ => error.message,
                });
            messages
                .filter(|message| !message.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Why no TLS session came about with a server that answered.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |&error| error.source())
        .find_map(|error| error.downcast_ref().and_then(wrapped_tls_error))
}

/// Looks inside I/O errors, which do not report what they wrap as their source (`std::io::Error::get_ref`).
fn wrapped_tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    let wrapped = || inner.downcast_ref().and_then(wrapped_tls_error);
    inner.downcast_ref().or_else(wrapped)
}

fn is_outside_validity(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let rustls::Error::InvalidCertificate(problem) = error else {
        return false;
    };
    matches!(
        problem,
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
    )
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
        let code = br#"{"errors":[{"code":"TAG_INVALID","message":""}]}"#;
        assert_eq!(message(code), "TAG_INVALID");
        assert_eq!(message(b"slow down"), "slow down");
        assert_eq!(message(b""), "");
    }
}
