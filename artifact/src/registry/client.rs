//! One repository of one registry.

use reqwest::header::{ACCEPT, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::connection::{Connection, authorities};
use super::mirrors::Place;
use super::retry::retrying;
use super::upload::Uploads;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::reference::Reference;

/// What registries take at most for a manifest (OCI distribution-spec 1.1, "Pushing Manifests"), in bytes.
const MAX_MANIFEST: usize = 4 << 20;
/// Images and indexes too: what is no artifact should be said to be none, instead of not to be there.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A repository, as whoever the credentials say.
pub(super) struct Repository {
    pub(super) reference: Reference,
    pub(super) connection: Connection,
}

/// A blob from some byte on.
pub(super) struct Body {
    /// Where it starts: where it was asked to, or at 0, since not every registry can start elsewhere.
    pub(super) start: u64,
    /// What the registry says is still to come, in bytes.
    pub(super) length: Option<u64>,
    pub(super) response: Response,
}

impl Repository {
    /// Prepares to read from a place; nothing is sent yet, unless it may be insecure.
    pub(super) async fn to_pull(place: &Place, options: &Options) -> Result<Self, RegistryError> {
        let authorities = authorities(options)?;
        let Place { reference, insecure } = place;
        let scopes = vec![format!("repository:{}:pull", name(reference))];
        let mut connection = Connection::new(reference, options, authorities.as_deref(), *insecure, scopes)?;
        connection.settle().await;
        Ok(Self {
            connection,
            reference: reference.clone(),
        })
    }

    /// Prepares to write, and to take what is in `source`, of the same registry; nothing is sent yet.
    pub(super) async fn to_publish(
        reference: &Reference,
        source: Option<&Reference>,
        options: &Options,
    ) -> Result<(Self, Uploads), RegistryError> {
        let authorities = authorities(options)?;
        let source = source.map(|source| format!("repository:{}:pull", name(source)));
        let scopes = [Some(format!("repository:{}:pull,push", name(reference))), source];
        let scopes = scopes.into_iter().flatten().collect();
        let repository = Self {
            connection: Connection::new(reference, options, authorities.as_deref(), false, scopes)?,
            reference: reference.clone(),
        };
        let uploads = Uploads::new(&repository, options, authorities.as_deref()).await?;
        Ok((repository, uploads))
    }

    pub(super) fn registry(&self) -> String {
        self.connection.registry()
    }

    /// The manifest's exact bytes and their digest.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        retrying(|| self.try_manifest()).await
    }

    /// The same, but gives up when that fails.
    pub(super) async fn try_manifest(&self) -> Result<(Vec<u8>, Digest), RegistryError> {
        let act = format!("read the manifest of `{}`", self.reference);
        let image = self.reference.image();
        let which = image.digest().or(image.tag()).unwrap_or_default();
        let path = self.path("manifests", which);
        let headers = headers([(ACCEPT, MANIFESTS.to_owned())]);
        let response = self.connection.ask(Method::GET, &path, headers, &act).await?;
        let bytes = self.bounded(response, &act).await?;
        let found = Digest::of(&bytes);
        match self.reference.digest() {
            Some(expected) if *expected != found => Err(RegistryError::WrongManifest {
                reference: self.reference.to_string(),
                found,
            }),
            _ => Ok((bytes, found)),
        }
    }

    /// The body of an answer, as long as it is no longer than a manifest may be.
    pub(super) async fn bounded(&self, mut response: Response, act: &str) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(act, error))? {
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
        let (path, act) = (self.path("blobs", digest.as_str()), format!("look for {what}"));
        retrying(|| async {
            match self
                .connection
                .ask(Method::HEAD, &path, HeaderMap::new(), &act)
                .await
            {
                Ok(_) => Ok(true),
                Err(RegistryError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The blob's bytes from `offset` on.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64, act: &str) -> Result<Body, RegistryError> {
        let path = self.path("blobs", digest.as_str());
        let range = (offset > 0).then(|| (RANGE, format!("bytes={offset}-")));
        let headers = headers(range);
        let response = self.connection.ask(Method::GET, &path, headers, act).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => response.headers().get(CONTENT_RANGE).and_then(start),
            _ => Some(0),
        };
        match start {
            Some(start) if start == offset || start == 0 => Ok(Body {
                start,
                length: response.content_length(),
                response,
            }),
            // A part that nobody asked for is as good as none.
            _ => Err(RegistryError::Status {
                registry: self.registry(),
                act: act.to_owned(),
                status: StatusCode::RANGE_NOT_SATISFIABLE.as_u16(),
                wait: None,
                message: String::new(),
            }),
        }
    }

    /// A transfer that ended too early.
    pub(super) fn broken(&self, act: &str, error: reqwest::Error) -> RegistryError {
        RegistryError::Broken {
            registry: self.registry(),
            act: act.to_owned(),
            source: std::io::Error::other(error),
        }
    }

    pub(super) fn path(&self, kind: &str, which: &str) -> String {
        format!("/v2/{}/{kind}/{which}", name(&self.reference))
    }
}

fn name(reference: &Reference) -> &str {
    reference.image().repository()
}

pub(super) fn headers(all: impl IntoIterator<Item = (reqwest::header::HeaderName, String)>) -> HeaderMap {
    let all = all.into_iter();
    all.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
        .collect()
}

/// Where the part starts (RFC 9110 section 14.4: `bytes FIRST-LAST/LENGTH`).
fn start(range: &HeaderValue) -> Option<u64> {
    let (unit, range) = range.to_str().ok()?.split_once(' ')?;
    let (first, _) = range.split_once('-')?;
    first.parse().ok().filter(|_| unit == "bytes")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::start;

    #[test]
    fn parts_have_a_start() {
        let cases = [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/*", Some(5)),
            ("bytes */10", None),
            ("lines 5-9/10", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(start(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
