//! HTTP with one registry, as whoever the credentials say: requests, and what their failures mean.

use std::fs;
use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciEnvelope};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::RwLock;

use super::credentials::Credentials;
use super::error::status;
use super::token::Grant;
use super::{Options, RegistryError};
use crate::reference::Reference;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
pub(super) const USER_AGENT: &str = concat!("parbake/", env!("CARGO_PKG_VERSION"));
/// What is read of an answer that says no, in bytes.
const MAX_REFUSAL: usize = 4096;

/// A registry, as whoever the credentials say.
pub(super) struct Connection {
    pub(super) http: reqwest::Client,
    /// `https://HOST[:PORT]`.
    pub(super) base: String,
    /// Whatever certificate it shows will do, or none.
    insecure: bool,
    /// What people call it.
    name: String,
    pub(super) credentials: Credentials,
    /// What has to be allowed: `repository:NAME:pull,push` (distribution, "Token Scope Documentation").
    pub(super) scopes: Vec<String>,
    grant: RwLock<Option<Grant>>,
}

impl Connection {
    /// Prepares; nothing is sent yet.
    pub(super) fn new(
        reference: &Reference,
        options: &Options,
        authorities: Option<&[u8]>,
        insecure: bool,
        scopes: Vec<String>,
    ) -> Result<Self, RegistryError> {
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scheme = if options.plain_http { "http" } else { "https" };
        let http = http(authorities, insecure, options.timeout, CONNECT_TIMEOUT);
        Ok(Self {
            http: http.map_err(|error| RegistryError::Client(error.into()))?,
            base: format!("{scheme}://{}", reference.image().resolve_registry()),
            name: reference.registry().to_owned(),
            insecure,
            credentials: Credentials::find(reference)?,
            scopes,
            grant: RwLock::new(None),
        })
    }

    /// Goes without TLS to who has none, if that may be.
    pub(super) async fn settle(&mut self) {
        let Some(host) = self.base.strip_prefix("https://").filter(|_| self.insecure) else {
            return;
        };
        if self.http.get(format!("{}/v2/", self.base)).send().await.is_err() {
            self.base = format!("http://{host}");
        }
    }

    /// Its host name and port.
    pub(super) fn registry(&self) -> String {
        self.name.clone()
    }

    /// Asks for `path`, which starts with `/v2/`; `act` says what for. An answer is one of success, with whatever body.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        act: &str,
    ) -> Result<Response, RegistryError> {
        self.exchange(method, path, headers, None, act).await
    }

    /// Sends what goes into one request.
    pub(super) async fn put(
        &self,
        path: &str,
        headers: HeaderMap,
        body: &[u8],
        act: &str,
    ) -> Result<Response, RegistryError> {
        self.exchange(Method::PUT, path, headers, Some(body), act).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<&[u8]>,
        act: &str,
    ) -> Result<Response, RegistryError> {
        let url = format!("{}{path}", self.base);
        let mut response = self.once(&method, &url, &headers, body).await?;
        // What was granted may have expired, or nobody asked for it yet.
        if response.status() == StatusCode::UNAUTHORIZED && self.is_own(response.url()) {
            self.authorize(act).await?;
            response = self.once(&method, &url, &headers, body).await?;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(act, response).await)
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        headers: &HeaderMap,
        body: Option<&[u8]>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.http.request(method.clone(), url).headers(headers.clone());
        if let Some(body) = body {
            request = request.body(body.to_vec());
        }
        // Whom the registry redirects to does not get to see it: reqwest takes it out for another host or port.
        if let Some(grant) = self.grant.read().await.as_ref() {
            request = grant.apply(request);
        }
        request.send().await.map_err(|error| self.unreachable(error))
    }

    /// Asks anew for what the credentials allow, and has all requests use it.
    pub(super) async fn authorize(&self, act: &str) -> Result<Option<Grant>, RegistryError> {
        let grant = self.granted(act).await?;
        self.grant.write().await.clone_from(&grant);
        Ok(grant)
    }

    /// What was granted last.
    pub(super) async fn grant(&self) -> Option<Grant> {
        self.grant.read().await.clone()
    }

    fn is_own(&self, url: &Url) -> bool {
        url.as_str()
            .strip_prefix(&self.base)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// What an answer that is no success means.
    pub(super) async fn refused(&self, act: &str, mut response: Response) -> RegistryError {
        let wait = response.headers().get(RETRY_AFTER).and_then(seconds);
        let code = response.status().as_u16();
        let mut body = Vec::new();
        // Whatever does not come is not worth an error of its own.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MAX_REFUSAL {
                break;
            }
        }
        self.status(act.to_owned(), code, wait, said(&body))
    }

    /// What a failure of the client library means.
    pub(super) fn failed(&self, act: String, error: OciDistributionError) -> RegistryError {
        if let Some((code, message)) = status(&error) {
            return self.status(act, code, None, said(message.as_bytes()));
        }
        match error {
            OciDistributionError::RequestError(source) => self.unreachable(source),
            OciDistributionError::IoError(source) => RegistryError::Broken {
                registry: self.registry(),
                act,
                source,
            },
            source => RegistryError::Protocol {
                registry: self.registry(),
                act,
                source,
            },
        }
    }

    fn status(&self, act: String, status: u16, wait: Option<Duration>, message: String) -> RegistryError {
        let registry = self.registry();
        match status {
            401 | 403 => RegistryError::Denied {
                registry,
                act,
                status,
                message,
                credentials: self.credentials.to_string(),
            },
            404 => RegistryError::NotFound { registry, act },
            _ => RegistryError::Status {
                registry,
                act,
                status,
                wait,
                message,
            },
        }
    }

    pub(super) fn unreachable(&self, source: reqwest::Error) -> RegistryError {
        let tls = self.base.starts_with("https:") && is_tls(&source);
        RegistryError::Unreachable {
            registry: self.registry(),
            hint: if tls {
                " by TLS; `--plain-http` is for those without, `--ca-file` for those with an authority of their own"
            } else {
                ""
            },
            passes: !tls && !source.is_builder() && !source.is_redirect(),
            source,
        }
    }
}

/// Seconds to wait (RFC 9110 section 10.2.3). The other form, a date, is not worth the trouble: then it waits as long
/// as without.
fn seconds(header: &HeaderValue) -> Option<Duration> {
    let seconds = header.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a registry says in the body of an answer: as OCI distribution-spec 1.1 has it ("Error Codes"), or in words.
fn said(body: &[u8]) -> String {
    match serde_json::from_slice::<OciEnvelope>(body) {
        Ok(envelope) => {
            let messages = envelope.errors.into_iter().map(|error| error.message);
            messages
                .filter(|message| !message.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Whether somebody answered but did not speak TLS as he should.
fn is_tls(error: &reqwest::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .any(|error| error.downcast_ref().is_some_and(holds_tls))
}

/// An error in an I/O error is no source of it (`std::io::Error::get_ref`).
fn holds_tls(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.downcast_ref().is_some_and(holds_tls))
}

/// The certificate authorities that the options name.
pub(super) fn authorities(options: &Options) -> Result<Option<Vec<u8>>, RegistryError> {
    let Some(path) = &options.ca_file else {
        return Ok(None);
    };
    let read = fs::read(path).map_err(|source| RegistryError::CaFile {
        path: path.clone(),
        source,
    });
    read.map(Some)
}

pub(super) fn http(
    authorities: Option<&[u8]>,
    insecure: bool,
    timeout: Duration,
    connect: Duration,
) -> Result<reqwest::Client, reqwest::Error> {
    let authorities = authorities
        .map(reqwest::Certificate::from_pem_bundle)
        .transpose()?;
    reqwest::Client::builder()
        .tls_certs_merge(authorities.unwrap_or_default())
        .tls_danger_accept_invalid_certs(insecure)
        .connect_timeout(connect)
        .read_timeout(timeout)
        .user_agent(USER_AGENT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn registries_speak_in_envelopes_or_plainly() {
        let envelope =
            br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"DENIED","message":"never"}]}"#;
        assert_eq!(said(envelope), "no, never");
        assert_eq!(said(b"slow down"), "slow down");
        assert_eq!(said(b""), "");
    }
}
