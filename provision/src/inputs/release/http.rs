//! Files on web servers: each goes on where it broke off, and counts only when its digest is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use parbake_artifact::Digest;
use parbake_artifact::digest::HashingStream;
use parbake_artifact::registry::{Options, credential, file_client};
use parbake_machine::fs::files::failed;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tracing::{Span, field, info_span};

use super::super::error::Error;
use super::ReleaseError;

/// How long it may take until somebody answers.
const CONNECT: Duration = Duration::from_secs(15);
/// How often in a row a file may fail before that is the answer.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// More than any binary has, in bytes.
const LARGEST: u64 = 4 << 30;
/// More than a file of digests has, in bytes.
const LARGEST_TEXT: usize = 64 << 10;

/// A client for web servers.
#[derive(Debug, Clone)]
pub(super) struct WebClient(Client);

impl WebClient {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self(file_client(options, CONNECT)?))
    }

    /// One that does not wait long for an answer.
    pub(super) fn hasty(options: &Options, connect: Duration) -> Result<Self, Error> {
        Ok(Self(file_client(options, connect)?))
    }

    /// Whether `url` is there.
    pub(super) async fn has(&self, url: &Url) -> Result<(), Error> {
        // A range of one byte: not every mirror knows HEAD.
        self.ask(url, Some("bytes=0-0")).await.map(drop)
    }

    /// The short text at `url`.
    pub(super) async fn text(&self, url: &Url) -> Result<String, Error> {
        let mut failures = 0;
        loop {
            match self.try_text(url).await {
                Ok(text) => return Ok(text),
                Err(error) => wait(error, &mut failures).await?,
            }
        }
    }

    async fn try_text(&self, url: &Url) -> Result<String, Error> {
        let mut response = self.ask(url, None).await?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, error))? {
            text.extend_from_slice(&chunk);
            if text.len() > LARGEST_TEXT {
                let limit = LARGEST_TEXT as u64;
                return Err(ReleaseError::TooLarge {
                    url: url.to_string(),
                    limit,
                }
                .into());
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Fetches `url` to `to`, which is there only when it has the digest. `what` is for people.
    pub(super) async fn fetch(&self, what: &str, url: &Url, digest: &Digest, to: &Path) -> Result<(), Error> {
        let part = to.with_extension("part");
        let mut failures = 0;
        loop {
            let before = length(&part);
            match self.receive(what, url, &part).await {
                Ok(()) => match settle(url, digest, &part, to) {
                    // What was there before may have been something else's beginning.
                    Err(Error::Release(ReleaseError::Wrong { .. })) if before > 0 => {}
                    outcome => return outcome,
                },
                Err(Error::Release(ReleaseError::Status { status: 416, .. })) if before > 0 => {
                    // Nothing is missing, or it is something else.
                    match settle(url, digest, &part, to) {
                        Err(Error::Release(ReleaseError::Wrong { .. })) => {}
                        outcome => return outcome,
                    }
                }
                Err(error) => {
                    if length(&part) > before {
                        failures = 0;
                    }
                    wait(error, &mut failures).await?;
                }
            }
        }
    }

    /// Adds to `part` what it lacks.
    async fn receive(&self, what: &str, url: &Url, part: &Path) -> Result<(), Error> {
        let kept = length(part);
        let range = (kept > 0).then(|| format!("bytes={kept}-"));
        let mut response = self.ask(url, range.as_deref()).await?;
        let start = start(&response);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(part)
            .map_err(failed("open", part))?;
        if start != kept {
            file.set_len(0).map_err(failed("empty", part))?;
        }
        let mut done = if start == kept { kept } else { 0 };
        let total = done + response.content_length().unwrap_or_default();
        let step = info_span!("step", what, total_bytes = total, done_bytes = field::Empty);
        show(&step, done);
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, error))? {
            file.write_all(&chunk).map_err(failed("write", part))?;
            done += chunk.len() as u64;
            show(&step, done);
            if done > LARGEST {
                let url = url.to_string();
                return Err(ReleaseError::TooLarge { url, limit: LARGEST }.into());
            }
        }
        Ok(())
    }

    async fn ask(&self, url: &Url, range: Option<&str>) -> Result<Response, Error> {
        let mut request = self.0.get(url.clone());
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        if let Some((user, password)) = credential(&host(url))? {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await;
        let response = response.map_err(|source| ReleaseError::Unreachable {
            url: url.to_string(),
            source: source.without_url(),
        })?;
        let url = url.to_string();
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(ReleaseError::Missing { url }.into()),
            status => Err(ReleaseError::Status {
                url,
                status: status.as_u16(),
            }
            .into()),
        }
    }
}

/// Host and port, as credentials are filed.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

fn broken(url: &Url, error: reqwest::Error) -> ReleaseError {
    ReleaseError::Broken {
        url: url.to_string(),
        source: io::Error::other(error.without_url()),
    }
}

fn show(step: &Span, done: u64) {
    step.record("done_bytes", done);
}

/// Where what comes belongs (RFC 9110 section 14.4); at the beginning where the server knows no ranges.
fn start(response: &Response) -> u64 {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split_once('-')?.0.parse().ok());
    match response.status() {
        StatusCode::PARTIAL_CONTENT => first.unwrap_or_default(),
        _ => 0,
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Gives a whole file its name, if it is the right one.
fn settle(url: &Url, digest: &Digest, part: &Path, to: &Path) -> Result<(), Error> {
    let found = digest_of_file(part)?;
    if found == *digest {
        return Ok(fs::rename(part, to).map_err(failed("rename", part))?);
    }
    fs::remove_file(part).map_err(failed("remove", part))?;
    let (url, expected) = (url.to_string(), digest.clone());
    Err(ReleaseError::Wrong { url, expected, found }.into())
}

/// The digest of a file's bytes.
pub(super) fn digest_of_file(path: &Path) -> Result<Digest, Error> {
    let read = || {
        let mut hashing = HashingStream::new(File::open(path)?);
        io::copy(&mut hashing, &mut io::sink())?;
        io::Result::Ok(hashing.finish().1)
    };
    Ok(read().map_err(failed("read", path))?)
}

/// Waits before the next try, longer after each.
///
/// # Errors
/// The failure itself, when it will not pass or was one too many.
async fn wait(error: Error, failures: &mut u32) -> Result<(), Error> {
    *failures += 1;
    let passes = matches!(&error, Error::Release(error) if error.passes());
    if !passes || *failures >= TRIES {
        return Err(error);
    }
    let wait = FIRST_WAIT * 2_u32.saturating_pow(*failures - 1);
    tracing::warn!("{error}; trying again in {:.1} s", wait.as_secs_f64());
    tokio::time::sleep(wait).await;
    Ok(())
}
