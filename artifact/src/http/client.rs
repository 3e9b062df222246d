//! Settings shared by all HTTP clients: certificates, proxies, timeouts.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, redirect};

use super::HttpError;

const USER_AGENT: &str = concat!("parbake/", env!("CARGO_PKG_VERSION"));
/// Hosts that are never reached through a proxy, whatever `NO_PROXY` says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// A constructor of a proxy for some URL schemes.
type ProxyFor = fn(String) -> reqwest::Result<Proxy>;

/// Settings of an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// A PEM file with certificate authorities to trust besides those of the host.
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// How long a server may send nothing while an answer is expected.
    pub read_timeout: Duration,
}

/// How a client treats redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// Follow it; credentials are dropped where host or port change.
    Follow,
    /// Report it, and apply no read timeout: for requests whose bodies stream for as long as they need.
    Report,
}

impl ClientOptions {
    pub(crate) fn build(
        &self,
        redirects: Redirects,
        accept_any_certificate: bool,
    ) -> Result<Client, HttpError> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .tls_certs_merge(self.certificates()?)
            .tls_danger_accept_invalid_certs(accept_any_certificate)
            .connect_timeout(self.connect_timeout)
            .user_agent(USER_AGENT);
        let builder = match redirects {
            Redirects::Follow => builder.read_timeout(self.read_timeout),
            Redirects::Report => builder.redirect(redirect::Policy::none()),
        };
        with_proxies(builder, |name| env::var(name).ok())?
            .build()
            .map_err(HttpError::Client)
    }

    fn certificates(&self) -> Result<Vec<Certificate>, HttpError> {
        let Some(path) = &self.ca_file else {
            return Ok(Vec::new());
        };
        let pem = fs::read(path).map_err(|source| HttpError::CaFile {
            path: path.clone(),
            source,
        })?;
        Certificate::from_pem_bundle(&pem).map_err(HttpError::Client)
    }
}

/// Uses the proxies of the environment, as curl does, but none for loopback addresses.
fn with_proxies(
    builder: ClientBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClientBuilder, HttpError> {
    let either = |name: &str| {
        let values = [name.to_owned(), name.to_lowercase()].map(|name| variable(&name));
        values.into_iter().flatten().find(|value| !value.is_empty())
    };
    let direct = format!("{},{LOOPBACK}", either("NO_PROXY").unwrap_or_default());
    let proxies: [(&str, ProxyFor); 3] = [
        ("HTTP_PROXY", Proxy::http),
        ("HTTPS_PROXY", Proxy::https),
        ("ALL_PROXY", Proxy::all),
    ];
    let mut builder = builder.no_proxy();
    for (name, proxy) in proxies {
        let Some(url) = either(name) else { continue };
        let proxy = proxy(url).map_err(|source| HttpError::Proxy {
            variable: name,
            source,
        })?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&direct)));
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::with_proxies;

    #[test]
    fn unusable_proxy_names_its_variable() {
        let variable = |name: &str| (name == "https_proxy").then(|| "http://[".to_owned());
        let error = with_proxies(Client::builder(), variable).unwrap_err().to_string();
        assert!(error.contains("`HTTPS_PROXY`"), "{error}");
    }
}
