//! Reading one repository of a registry.

use reqwest::header::{ACCEPT, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response};

use super::client::{Client, Request};
use super::mirrors::Location;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::http::{Body, HttpError, RangeSource, Server, retry};
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// The largest manifest that registries must accept (OCI distribution-spec 1.1, "Pushing Manifests"), in bytes.
const MAX_MANIFEST: usize = 4 << 20;
/// Includes images and indexes, so that they are reported as such instead of as missing.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A repository, accessed with the credentials for it.
pub(super) struct Repository {
    pub(super) reference: Reference,
    pub(super) client: Client,
}

/// A blob of a repository.
pub(super) struct RemoteBlob<'a> {
    pub(super) repository: &'a Repository,
    pub(super) digest: &'a Digest,
    /// In error messages: "layer `os`".
    pub(super) what: &'a str,
}

impl Repository {
    /// Prepares to read.
    pub(super) async fn to_pull(location: &Location, options: &Options) -> Result<Self, RegistryError> {
        let Location {
            reference,
            is_insecure,
        } = location;
        let scopes = vec![format!("repository:{}:pull", reference.repository())];
        Ok(Self {
            client: Client::new(reference, options, *is_insecure, scopes).await?,
            reference: reference.clone(),
        })
    }

    /// Prepares to write, and to mount blobs of the repository `source` of the same registry.
    pub(super) async fn to_publish(
        reference: &Reference,
        source: Option<&Reference>,
        options: &Options,
    ) -> Result<Self, RegistryError> {
        let own = format!("repository:{}:pull,push", reference.repository());
        let source = source.map(|source| format!("repository:{}:pull", source.repository()));
        let scopes = [Some(own), source].into_iter().flatten().collect();
        Ok(Self {
            client: Client::new(reference, options, false, scopes).await?,
            reference: reference.clone(),
        })
    }

    /// The bytes of the manifest, and their digest.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        self.check_manifest(retry(|| self.get_reference()).await?)
    }

    /// Like [`Repository::manifest`], without retries.
    pub(super) async fn try_manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        self.check_manifest(self.get_reference().await?)
    }

    async fn get_reference(&self) -> Result<Vec<u8>, HttpError> {
        let digest = self.reference.digest().map(Digest::as_str);
        let which = digest.or(self.reference.tag()).unwrap_or_default();
        let action = format!("read the manifest of `{}`", self.reference);
        self.get_manifest(which, &action).await
    }

    fn check_manifest(&self, bytes: Vec<u8>) -> Result<(Vec<u8>, Digest), RegistryError> {
        let found = Digest::of(&bytes);
        match self.reference.digest() {
            Some(expected) if *expected != found => Err(RegistryError::WrongManifest {
                reference: self.reference.to_string(),
                found,
            }),
            _ => Ok((bytes, found)),
        }
    }

    /// The bytes of a manifest by tag or digest, unchecked.
    pub(super) async fn get_manifest(&self, which: &str, action: &str) -> Result<Vec<u8>, HttpError> {
        let path = self.path("manifests", which);
        let mut request = Request::new(Method::GET, &path, action);
        request
            .headers
            .insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let response = self.client.send(request).await?;
        self.read_document(response, "the manifest", action).await
    }

    /// Reads a body that is no longer than a manifest may be.
    pub(super) async fn read_document(
        &self,
        response: Response,
        what: &str,
        action: &str,
    ) -> Result<Vec<u8>, HttpError> {
        self.client
            .server
            .read(response, what, action, MAX_MANIFEST)
            .await
    }

    /// True if the repository has the blob; false also if the registry does not say, so that the blob is sent.
    pub(super) async fn has_blob(&self, digest: &Digest, what: &str) -> Result<bool, HttpError> {
        let (path, action) = (self.path("blobs", digest.as_str()), format!("look for {what}"));
        let outcome = retry(|| self.client.send(Request::new(Method::HEAD, &path, &action))).await;
        match outcome.map_err(|error| (error.status(), error)) {
            Ok(_) => return Ok(true),
            Err((Some(404), _)) => return Ok(false),
            // Some registries and proxies do not support HEAD.
            Err((Some(400 | 401 | 403 | 405 | 501), _)) => {}
            Err((_, error)) => return Err(error),
        }
        let first_byte = || {
            let mut request = Request::new(Method::GET, &path, &action);
            request
                .headers
                .insert(RANGE, HeaderValue::from_static("bytes=0-0"));
            self.client.send(request)
        };
        match retry(first_byte).await {
            Ok(_) => Ok(true),
            Err(error) if error.status().is_some() && !error.is_transient() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A small blob; `None` if the registry has other bytes than the digest says.
    pub(super) async fn small_blob(&self, blob: &BlobRef, what: &str) -> Result<Option<Vec<u8>>, HttpError> {
        let remote = RemoteBlob {
            repository: self,
            digest: &blob.digest,
            what,
        };
        let action = remote.action();
        let bytes = retry(|| async {
            let body = remote.open(0).await?;
            self.read_document(body.response, what, &action).await
        });
        Ok(Some(bytes.await?).filter(|bytes| Digest::of(bytes) == blob.digest))
    }

    pub(super) fn path(&self, kind: &str, which: &str) -> String {
        format!("/v2/{}/{kind}/{which}", self.reference.repository())
    }
}

impl RemoteBlob<'_> {
    fn action(&self) -> String {
        format!("send {}", self.what)
    }
}

impl RangeSource for RemoteBlob<'_> {
    fn server(&self) -> &Server {
        &self.repository.client.server
    }

    async fn open(&self, offset: u64) -> Result<Body, HttpError> {
        let (path, action) = (self.repository.path("blobs", self.digest.as_str()), self.action());
        let mut request = Request::new(Method::GET, &path, &action);
        if offset > 0 {
            request.headers.extend(header(RANGE, &format!("bytes={offset}-")));
        }
        let response = self.repository.client.send(request).await?;
        Body::new(response, offset, self.server(), &action)
    }
}

/// A header for [`reqwest::header::HeaderMap::extend`].
pub(super) fn header(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::try_from(value).ok()?))
}
