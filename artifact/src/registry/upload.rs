//! Uploading blobs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::client::Request;
use super::repository::Repository;
use crate::digest::Digest;
use crate::http::{HttpError, retry};
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many times longer a registry may take for its answer when it has all of a blob, which it hashes or moves then.
const STORING_FACTOR: u32 = 10;
/// How many redirects of an upload are followed.
const MAX_REDIRECTS: usize = 5;
const HTTP_PORT: u16 = 80;

impl Repository {
    /// Sends the blob in the file at `path`; the registry checks its digest. `sent` is called with the length of each chunk.
    pub(super) async fn upload_blob(
        &self,
        path: &Path,
        blob: &BlobRef,
        what: &str,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<(), HttpError> {
        let action = format!("take {what}");
        retry(|| async {
            match self.try_upload(path, blob, &action, sent.clone()).await {
                // The token has expired since the upload began; there is a new one now.
                Err(HttpError::Denied { status: 401, .. }) => {
                    self.try_upload(path, blob, &action, sent.clone()).await
                }
                outcome => outcome,
            }
        })
        .await
    }

    /// Uploads with one POST and one PUT (OCI distribution-spec 1.1, "POST then PUT").
    async fn try_upload(
        &self,
        path: &Path,
        blob: &BlobRef,
        action: &str,
        sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<(), HttpError> {
        let mut url = self.start_upload(&blob.digest, action).await?;
        for _ in 0..MAX_REDIRECTS {
            let response = self.put_blob(url, path, blob, action, sent.clone()).await;
            let response = response.map_err(|error| self.lost_upload(error, action))?;
            if response.status().is_success() {
                return Ok(());
            }
            url = self.location(&response, action)?;
        }
        Err(self.client.server.protocol(action, "it redirects too often"))
    }

    /// An upload that the registry has forgotten can be started again.
    fn lost_upload(&self, error: HttpError, action: &str) -> HttpError {
        match error.status() {
            Some(status @ (404 | 410 | 416)) => HttpError::UploadLost {
                server: self.client.server.name.clone(),
                action: action.to_owned(),
                status,
            },
            _ => error,
        }
    }

    async fn put_blob(
        &self,
        url: Url,
        path: &Path,
        blob: &BlobRef,
        action: &str,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Response, HttpError> {
        let file = File::open(path).await.map_err(HttpError::file("read", path))?;
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let stream = ReaderStream::with_capacity(file, CHUNK).inspect_ok(move |chunk| {
            let length = chunk.len() as u64;
            counter.fetch_add(length, Ordering::Relaxed);
            sent(length);
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, blob.size.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let put = self
            .client
            .put_stream(url, Body::wrap_stream(stream), headers, action);
        tokio::select! {
            outcome = put => outcome,
            () = self.stalled(&count, blob.size) => Err(self.client.server.timed_out(action)),
        }
    }

    /// Begins an upload and returns the URL to send the blob to.
    async fn start_upload(&self, digest: &Digest, action: &str) -> Result<Url, HttpError> {
        let path = self.path("blobs", "uploads/");
        let response = self
            .client
            .send(Request::new(Method::POST, &path, action))
            .await?;
        let mut url = self.location(&response, action)?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        Ok(url)
    }

    /// Where to send the data. It may be relative, and have a query that must be kept.
    fn location(&self, response: &Response, action: &str) -> Result<Url, HttpError> {
        let (from, location) = (response.url(), response.headers().get(LOCATION));
        let url = location.and_then(|location| from.join(location.to_str().ok()?).ok());
        let mut url = url.ok_or_else(|| {
            let problem = "it did not say where to send the data";
            self.client.server.protocol(action, problem)
        })?;
        // A registry behind a proxy that adds TLS may not know of it.
        if from.scheme() == "https" && url.scheme() == "http" && url.host() == from.host() {
            let port = url.port().filter(|port| *port != HTTP_PORT).or(from.port());
            let _ = url.set_scheme("https").and_then(|()| url.set_port(port));
        }
        Ok(url)
    }

    /// Returns when no more bytes are being sent.
    async fn stalled(&self, count: &AtomicU64, size: u64) {
        let mut before = None;
        loop {
            let now = count.load(Ordering::Relaxed);
            if before.replace(now) == Some(now) {
                return;
            }
            let factor = if now < size { 1 } else { STORING_FACTOR };
            tokio::time::sleep(self.timeout() * factor).await;
        }
    }

    fn timeout(&self) -> Duration {
        self.client.options.read_timeout
    }

    /// Asks the registry to take a blob from another of its repositories (OCI distribution-spec 1.1, "Mounting a blob from
    /// another repository"). False if it does not, for whatever permanent reason: the blob can still be sent.
    pub(super) async fn mount_blob(
        &self,
        source: &Reference,
        digest: &Digest,
        what: &str,
    ) -> Result<bool, HttpError> {
        let action = format!("take {what} from `{source}`");
        let query = format!("uploads/?mount={digest}&from={}", source.repository());
        let path = self.path("blobs", &query);
        match retry(|| self.client.send(Request::new(Method::POST, &path, &action))).await {
            Ok(response) => Ok(response.status() == StatusCode::CREATED),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Ok(false),
        }
    }
}
