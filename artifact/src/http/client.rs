//! Settings shared by all HTTP clients: certificates, proxies, timeouts.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url, redirect};

use super::HttpError;
use super::no_proxy::NoProxy;

const USER_AGENT: &str = concat!("parbake/", env!("CARGO_PKG_VERSION"));
/// The port of a SOCKS proxy whose URL has none.
const SOCKS_PORT: u16 = 1080;

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
            // Without the header a server may choose, and lengths, ranges and digests are those of what is stored.
            .default_headers(
                [(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]
                    .into_iter()
                    .collect(),
            )
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
        let values = [name.to_lowercase(), name.to_owned()].map(|name| variable(&name));
        values.into_iter().flatten().find(|value| !value.is_empty())
    };
    let proxy = |name: &'static str| {
        let url = either(name).map(|value| proxy_url(&value)).transpose();
        url.map_err(|problem| HttpError::Proxy {
            variable: name,
            problem,
        })
    };
    let (http, https, all) = (proxy("HTTP_PROXY")?, proxy("HTTPS_PROXY")?, proxy("ALL_PROXY")?);
    let direct = NoProxy::parse(&either("NO_PROXY").unwrap_or_default());
    let choose = move |url: &Url| {
        let own = match url.scheme() {
            "https" => &https,
            _ => &http,
        };
        let proxy = own.as_ref().or(all.as_ref())?;
        (!direct.matches(url)).then(|| proxy.clone())
    };
    Ok(builder.no_proxy().proxy(Proxy::custom(choose)))
}

/// The URL of a proxy, which may lack its scheme.
fn proxy_url(value: &str) -> Result<Url, String> {
    let value = match value.contains("://") {
        true => value.to_owned(),
        false => format!("http://{value}"),
    };
    // The error must not show the value, which may hold a password.
    let mut url = Url::parse(&value).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => {}
        "socks4" | "socks4a" | "socks5" | "socks5h" => {
            let port = url.port().unwrap_or(SOCKS_PORT);
            let _ = url.set_port(Some(port));
        }
        other => {
            return Err(format!(
                "it begins with `{other}://`; use `http`, `https`, `socks5` or `socks5h`"
            ));
        }
    }
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("it has no host".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::{proxy_url, with_proxies};

    #[test]
    fn unusable_proxy_names_its_variable_and_not_its_password() {
        for (value, problem) in [
            ("http://[", "invalid IPv6 address"),
            ("ftp://user:secret@proxy:21", "begins with `ftp://`"),
            ("http://user:secret@proxy:port", "invalid port number"),
            ("socks5://", "no host"),
        ] {
            let variable = |name: &str| (name == "https_proxy").then(|| value.to_owned());
            let error = with_proxies(Client::builder(), variable).unwrap_err().to_string();
            assert!(
                error.contains("`HTTPS_PROXY`") && error.contains(problem),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn proxies_may_lack_scheme_or_port() {
        for (value, url) in [
            ("proxy.example.org:3128", "http://proxy.example.org:3128/"),
            ("10.0.0.1", "http://10.0.0.1/"),
            ("user:secret@proxy:8080", "http://user:secret@proxy:8080/"),
            ("HTTPS://proxy", "https://proxy/"),
            ("socks5h://proxy", "socks5h://proxy:1080"),
        ] {
            assert_eq!(proxy_url(value).unwrap().as_str(), url);
        }
    }
}
