//! Sending blobs and manifests.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::token_cache::{RegistryToken, RegistryTokenType};
use oci_client::{Client, RegistryOperation};
use reqwest::header::HeaderValue;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::client::Repository;
use super::connection::{CONNECT_TIMEOUT, USER_AGENT};
use super::retry::retrying;
use super::token::Grant;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::manifest::BlobRef;
use crate::reference::Reference;
use crate::store::StoreError;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What is read of a file at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many times longer a registry may be silent when it has all of a blob: it hashes it, or moves it elsewhere.
const WHILE_IT_STORES: u32 = 10;

/// What writes to a repository.
pub(super) struct Uploads {
    client: Client,
    timeout: Duration,
}

impl Uploads {
    pub(super) async fn new(
        repository: &Repository,
        options: &Options,
        authorities: Option<&[u8]>,
    ) -> Result<Self, RegistryError> {
        let authorities = authorities.map(|pem| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.to_owned(),
        });
        let client = Client::try_from(ClientConfig {
            protocol: if options.plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            use_monolithic_push: true,
            extra_root_certificates: authorities.into_iter().collect(),
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            // It would also count while a request is being sent, which takes as long as a blob takes.
            read_timeout: None,
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })
        .map_err(RegistryError::Client)?;
        // It asks for tokens of its own only when it has none that is still good.
        let registry = repository.reference.image().resolve_registry();
        let auth = &repository.connection.credentials.auth;
        client.store_auth_if_needed(registry, auth).await;
        Ok(Self {
            client,
            timeout: options.timeout,
        })
    }

    /// Sends a blob; the registry checks that it is what its digest says. `sent` hears of every chunk.
    pub(super) async fn blob(
        &self,
        repository: &Repository,
        path: &Path,
        blob: &BlobRef,
        what: &str,
        sent: impl Fn(u64) + Clone + Send + 'static,
    ) -> Result<(), RegistryError> {
        let act = format!("take {what}");
        let send = || self.send(repository, path, blob, &act, sent.clone());
        self.allowed(repository, &act, send).await
    }

    async fn send(
        &self,
        repository: &Repository,
        path: &Path,
        blob: &BlobRef,
        act: &str,
        sent: impl Fn(u64) + Send + 'static,
    ) -> Result<(), RegistryError> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(StoreError::io("read", path))?;
        let count = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&count);
        let stream = ReaderStream::with_capacity(file, CHUNK)
            .inspect_ok(move |chunk| {
                let length = chunk.len() as u64;
                counting.fetch_add(length, Ordering::Relaxed);
                sent(length);
            })
            .map_err(OciDistributionError::from);
        let (image, digest) = (repository.reference.image(), blob.digest.as_str());
        let push = self
            .client
            .push_blob_stream(image, stream, digest, Some(blob.size));
        tokio::select! {
            outcome = push => outcome
                .map(drop)
                .map_err(|error| repository.connection.failed(act.to_owned(), error)),
            () = self.stuck(&count, blob.size) => Err(silent(repository, act)),
        }
    }

    /// Comes back when nothing more is sent.
    async fn stuck(&self, count: &AtomicU64, size: u64) {
        let mut before = None;
        loop {
            let now = count.load(Ordering::Relaxed);
            if before.replace(now) == Some(now) {
                return;
            }
            let timeout = if now < size { 1 } else { WHILE_IT_STORES };
            tokio::time::sleep(self.timeout * timeout).await;
        }
    }

    /// Has the registry take a blob from another of its repositories; `false` when it does not want to (OCI
    /// distribution-spec 1.1, "Mounting a blob from another repository").
    pub(super) async fn mount(
        &self,
        repository: &Repository,
        source: &Reference,
        digest: &Digest,
        what: &str,
    ) -> Result<bool, RegistryError> {
        let act = format!("take {what} from `{source}`");
        let (image, from) = (repository.reference.image(), source.image());
        let mount = || async {
            self.hand_over(repository, repository.connection.grant().await)
                .await;
            let mount = self.client.mount_blob(image, from, digest.as_str());
            match self.patiently(repository, &act, mount).await {
                Ok(()) => Ok(true),
                Err(error) if error.passes().is_some() => Err(error),
                // Not there, not allowed, or never heard of: it can still be sent.
                Err(_) => Ok(false),
            }
        };
        retrying(mount).await
    }

    /// Sends the manifest, under the reference's tag.
    pub(super) async fn manifest(&self, repository: &Repository, bytes: &[u8]) -> Result<(), RegistryError> {
        let act = format!("take the manifest of `{}`", repository.reference);
        let send = || async {
            let kind = HeaderValue::from_static(OCI_MANIFEST);
            let image = repository.reference.image();
            let push = self.client.push_manifest_raw(image, bytes.to_vec(), kind);
            self.patiently(repository, &act, push).await.map(drop)
        };
        self.allowed(repository, &act, send).await
    }

    /// Does what the registry may want to be asked anew for, and tries again where that helps.
    async fn allowed<F>(
        &self,
        repository: &Repository,
        act: &str,
        send: impl Fn() -> F,
    ) -> Result<(), RegistryError>
    where
        F: Future<Output = Result<(), RegistryError>>,
    {
        retrying(|| async {
            self.hand_over(repository, repository.connection.grant().await)
                .await;
            match send().await {
                Err(RegistryError::Denied { status: 401, .. }) => {
                    let grant = repository.connection.authorize(act).await?;
                    self.hand_over(repository, grant).await;
                    send().await
                }
                outcome => outcome,
            }
        })
        .await
    }

    /// Has the client library use what was granted: it would ask for less, and not say why it got nothing.
    async fn hand_over(&self, repository: &Repository, grant: Option<Grant>) {
        let grant = match grant {
            Some(Grant::Basic(user, password)) => RegistryTokenType::Basic(user, password),
            Some(Grant::Bearer(token)) => RegistryTokenType::Bearer(RegistryToken::Token { token }),
            None => return,
        };
        let image = repository.reference.image();
        self.client
            .tokens
            .insert(image, RegistryOperation::Push, grant)
            .await;
    }

    async fn patiently<T>(
        &self,
        repository: &Repository,
        act: &str,
        request: impl Future<Output = Result<T, OciDistributionError>>,
    ) -> Result<T, RegistryError> {
        match timeout(self.timeout, request).await {
            Ok(outcome) => outcome.map_err(|error| repository.connection.failed(act.to_owned(), error)),
            Err(_) => Err(silent(repository, act)),
        }
    }
}

/// What it means when nothing happens.
fn silent(repository: &Repository, act: &str) -> RegistryError {
    RegistryError::Broken {
        registry: repository.registry(),
        act: act.to_owned(),
        source: io::ErrorKind::TimedOut.into(),
    }
}
