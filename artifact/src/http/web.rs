//! Files on web servers.

use std::path::Path;

use reqwest::header::RANGE;
use reqwest::{Client, Response, Url};

use super::{
    Body, ClientOptions, Credential, Credentials, Expected, Hints, HttpError, Observer, PartialFile,
    RangeSource, Redirects, Server, Size, download, retry,
};
use crate::digest::Digest;

/// The longest text that [`WebClient::text`] reads, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// A client for web servers, with the certificates and credentials that registries have, too.
#[derive(Debug, Clone)]
pub struct WebClient {
    http: Client,
    options: ClientOptions,
    hints: Hints,
}

impl WebClient {
    /// # Errors
    /// [`HttpError::CaFile`], [`HttpError::Client`], [`HttpError::Proxy`].
    pub fn new(options: ClientOptions, hints: Hints) -> Result<Self, HttpError> {
        Ok(Self {
            http: options.build(Redirects::Follow, false)?,
            options,
            hints,
        })
    }

    /// Checks once that there is something at `url`.
    ///
    /// # Errors
    /// Any answer but success.
    pub async fn check_exists(&self, url: &Url) -> Result<(), HttpError> {
        // A range of one byte, since not every mirror supports HEAD.
        self.file(url)
            .await?
            .get(Some("bytes=0-0".to_owned()))
            .await
            .map(drop)
    }

    /// The short text at `url`.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`] above 64 KiB.
    pub async fn text(&self, url: &Url) -> Result<String, HttpError> {
        let file = self.file(url).await?;
        let bytes = retry(|| async {
            let response = file.get(None).await?;
            file.server
                .read(response, &file.what(), &file.action(), MAX_TEXT)
                .await
        });
        Ok(String::from_utf8_lossy(&bytes.await?).into_owned())
    }

    /// Downloads `url`, of at most `limit` bytes, to `to`, which appears only with the right digest. `to` with the extension
    /// `part` holds what has arrived; a later call continues it.
    ///
    /// # Errors
    /// Any answer but success; [`HttpError::Digest`], [`HttpError::TooLarge`], [`HttpError::File`].
    pub async fn download(
        &self,
        url: &Url,
        digest: &Digest,
        limit: u64,
        to: &Path,
        observer: &impl Observer,
    ) -> Result<(), HttpError> {
        let file = self.file(url).await?;
        let part = to.with_extension("part");
        let mut partial = PartialFile::open(&part, limit).map_err(HttpError::file("open", &part))?;
        let expected = Expected {
            what: &file.what(),
            digest,
            size: Size::AtMost(limit),
        };
        let complete = download(&file, &mut partial, &expected, observer).await?;
        complete.rename(to).map_err(HttpError::file("create", to))
    }

    async fn file<'a>(&'a self, url: &'a Url) -> Result<RemoteFile<'a>, HttpError> {
        let host = host_and_port(url);
        let credentials = Credentials::find(&host, None, self.options.read_timeout).await?;
        Ok(RemoteFile {
            http: &self.http,
            server: Server {
                name: format!("the server `{host}`"),
                credentials: credentials.to_string(),
                hints: self.hints,
            },
            credentials,
            url,
        })
    }
}

/// `HOST[:PORT]`, as credentials are stored and errors name it.
pub fn host_and_port(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

struct RemoteFile<'a> {
    http: &'a Client,
    server: Server,
    credentials: Credentials,
    url: &'a Url,
}

impl RemoteFile<'_> {
    async fn get(&self, range: Option<String>) -> Result<Response, HttpError> {
        let mut request = self.http.get(self.url.clone());
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        if let Some(Credential::Password { user, password }) = &self.credentials.credential {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await;
        let response = response.map_err(|error| self.server.unreachable(error))?;
        self.server.check(response, &self.action()).await
    }

    fn what(&self) -> String {
        format!("`{}`", self.url)
    }

    fn action(&self) -> String {
        format!("send {}", self.what())
    }
}

impl RangeSource for RemoteFile<'_> {
    fn server(&self) -> &Server {
        &self.server
    }

    async fn open(&self, offset: u64) -> Result<Body, HttpError> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        Body::new(self.get(range).await?, offset, &self.server, &self.action())
    }
}
