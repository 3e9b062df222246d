//! One repository of one registry.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio_util::io::ReaderStream;

use super::credentials::Credentials;
use super::error::status;
use super::retry::retrying;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// What registries take at most for a manifest (OCI distribution-spec 1.1, "Pushing Manifests"), in bytes.
const MAX_MANIFEST: usize = 4 << 20;
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Images and indexes too: what is no artifact should be said to be none, instead of not to be there.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a registry may be silent while it is to send something.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("parbake/", env!("CARGO_PKG_VERSION"));
/// What is read of a file at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Pull,
    Publish,
}

/// A repository, as whoever the credentials say.
pub(super) struct Repository {
    pub(super) reference: Reference,
    client: Client,
    /// For what has to be bounded, which the other one cannot do.
    http: reqwest::Client,
    scheme: &'static str,
    credentials: Credentials,
}

impl Repository {
    /// Prepares; nothing is sent yet.
    pub(super) async fn new(
        reference: &Reference,
        options: &Options,
        purpose: Purpose,
    ) -> Result<Self, RegistryError> {
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let credentials = Credentials::find(reference)?;
        let authorities = match &options.ca_file {
            Some(path) => Some(fs::read(path).map_err(|source| RegistryError::CaFile {
                path: path.clone(),
                source,
            })?),
            None => None,
        };
        let http = http(authorities.as_deref()).map_err(|error| RegistryError::Client(error.into()))?;
        let client = Client::try_from(ClientConfig {
            protocol: if options.plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            use_monolithic_push: true,
            extra_root_certificates: authorities
                .into_iter()
                .map(|data| Certificate {
                    encoding: CertificateEncoding::Pem,
                    data,
                })
                .collect(),
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            // It also counts while a request is being sent, which takes as long as a blob takes.
            read_timeout: (purpose == Purpose::Pull).then_some(READ_TIMEOUT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })
        .map_err(RegistryError::Client)?;
        client
            .store_auth_if_needed(reference.image().resolve_registry(), &credentials.auth)
            .await;
        Ok(Self {
            reference: reference.clone(),
            client,
            http,
            scheme: if options.plain_http { "http" } else { "https" },
            credentials,
        })
    }

    pub(super) fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }

    /// The manifest's exact bytes and their digest.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        retrying(|| self.try_manifest()).await
    }

    async fn try_manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        let act = || format!("read the manifest of `{}`", self.reference);
        let image = self.reference.image();
        let which = image.digest().or(image.tag()).unwrap_or_default();
        let path = format!("manifests/{which}");
        let request = self.request(Method::GET, &path, RegistryOperation::Pull).await?;
        let response = request
            .header(ACCEPT, MANIFESTS)
            .send()
            .await
            .map_err(|error| self.failed(act(), error.into()))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(act(), &response));
        }
        let bytes = self.bounded(response).await?;
        let found = Digest::of(&bytes);
        match self.reference.digest() {
            Some(expected) if *expected != found => Err(RegistryError::WrongManifest {
                reference: self.reference.to_string(),
                found,
            }),
            _ => Ok((bytes, found)),
        }
    }

    /// A request for `path` in the repository, as whoever the credentials say.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        operation: RegistryOperation,
    ) -> Result<RequestBuilder, RegistryError> {
        let image = self.reference.image();
        let token = self
            .client
            .auth(image, &self.credentials.auth, operation)
            .await
            .map_err(|error| self.failed(format!("answer for {path} of `{}`", self.reference), error))?;
        let (registry, repository) = (image.resolve_registry(), image.repository());
        let url = format!("{}://{registry}/v2/{repository}/{path}", self.scheme);
        let request = self.http.request(method, url);
        Ok(match (&token, &self.credentials.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        })
    }

    /// The body of an answer, as long as it is no longer than a manifest may be.
    pub(super) async fn bounded(&self, mut response: Response) -> Result<Vec<u8>, RegistryError> {
        let act = || format!("read the manifest of `{}`", self.reference);
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failed(act(), error.into()))?
        {
            if bytes.len() + chunk.len() > MAX_MANIFEST {
                return Err(RegistryError::TooLarge {
                    reference: self.reference.to_string(),
                    what: "the manifest",
                    limit: MAX_MANIFEST as u64,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Whether the repository has the blob.
    pub(super) async fn has(&self, digest: &Digest, what: &str) -> Result<bool, RegistryError> {
        retrying(|| async {
            self.client
                .blob_exists(self.reference.image(), digest.as_str())
                .await
                .map_err(|error| self.failed(format!("look for {what}"), error))
        })
        .await
    }

    /// Sends a blob; the registry checks that it is what its digest says. `sent` hears of every chunk.
    pub(super) async fn send(
        &self,
        path: &Path,
        blob: &BlobRef,
        what: &str,
        sent: impl Fn(u64) + Clone + Send + 'static,
    ) -> Result<(), RegistryError> {
        retrying(|| async {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(crate::store::StoreError::io("read", path))?;
            let sent = sent.clone();
            let stream = ReaderStream::with_capacity(file, CHUNK)
                .inspect_ok(move |chunk| sent(chunk.len() as u64))
                .map_err(OciDistributionError::from);
            self.client
                .push_blob_stream(
                    self.reference.image(),
                    stream,
                    blob.digest.as_str(),
                    Some(blob.size),
                )
                .await
                .map_err(|error| self.failed(format!("take {what}"), error))?;
            Ok(())
        })
        .await
    }

    /// Sends the manifest, under the reference's tag.
    pub(super) async fn send_manifest(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        retrying(|| async {
            let kind = reqwest::header::HeaderValue::from_static(OCI_MANIFEST);
            self.client
                .push_manifest_raw(self.reference.image(), bytes.to_vec(), kind)
                .await
                .map_err(|error| self.failed(format!("take the manifest of `{}`", self.reference), error))?;
            Ok(())
        })
        .await
    }

    /// The blob's bytes from `offset` on.
    pub(super) async fn stream(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<oci_client::client::BlobResponse, OciDistributionError> {
        self.client
            .pull_blob_stream_partial(self.reference.image(), digest.as_str(), offset, None)
            .await
    }

    /// What an answer that is no success means.
    pub(super) fn refused(&self, act: String, response: &Response) -> RegistryError {
        let wait = response.headers().get(RETRY_AFTER);
        // The other form, a date, is not worth the trouble: then it waits as long as without.
        let seconds = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        self.status(
            act,
            response.status().as_u16(),
            seconds.map(Duration::from_secs),
            String::new(),
        )
    }

    /// What a failure of the client library means.
    pub(super) fn failed(&self, act: String, error: OciDistributionError) -> RegistryError {
        if let Some((code, message)) = status(&error) {
            return self.status(act, code, None, message);
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

    fn unreachable(&self, source: reqwest::Error) -> RegistryError {
        let tls = self.scheme == "https" && is_tls(&source);
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

fn http(authorities: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    let authorities = authorities
        .map(reqwest::Certificate::from_pem_bundle)
        .transpose()?;
    reqwest::Client::builder()
        .tls_certs_merge(authorities.unwrap_or_default())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(USER_AGENT)
        .build()
}
