//! One download: resumed after interruptions, verified before use.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

use super::retry::Backoff;
use super::server::is_gzip;
use super::{CompleteFile, HttpError, PartialFile, Server};
use crate::digest::Digest;

/// The expected content of a download.
pub(crate) struct Expected<'a> {
    /// In error messages: "layer `os`".
    pub(crate) what: &'a str,
    pub(crate) digest: &'a Digest,
    pub(crate) size: Size,
}

/// A length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Exactly(u64),
    AtMost(u64),
}

/// A resource that can be read from any byte on.
pub(crate) trait RangeSource: Sync {
    fn server(&self) -> &Server;

    /// Requests the bytes from `offset` on.
    fn open(&self, offset: u64) -> impl Future<Output = Result<Body, HttpError>> + Send;
}

/// Follows a download. Both functions are called from asynchronous code and must not block.
pub trait Observer: Sync {
    /// An answer began: its content starts at the byte `start` and has `length` bytes, if the server says so.
    fn started(&self, start: u64, length: Option<u64>);
    /// `bytes` more have arrived.
    fn received(&self, bytes: u64);
}

/// The content of an answer.
pub(crate) struct Body {
    /// The requested offset, or 0 if the server does not support ranges.
    start: u64,
    /// As announced, in bytes.
    length: Option<u64>,
    /// A proxy has compressed it, or it is stored like that.
    is_gzip: bool,
    pub(crate) response: Response,
}

impl Body {
    /// Reads where the content starts from an answer to a request for everything from `offset` on.
    pub(crate) fn new(
        response: Response,
        offset: u64,
        server: &Server,
        action: &str,
    ) -> Result<Self, HttpError> {
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE);
                range.and_then(|range| first_byte(range.to_str().ok()?))
            }
            _ => Some(0),
        };
        let is_gzip = is_gzip(&response);
        match start {
            // Compressed content cannot be continued in the middle.
            Some(start) if start == 0 || (start == offset && !is_gzip) => Ok(Self {
                start,
                length: response.content_length(),
                is_gzip,
                response,
            }),
            // Another range than the requested one is as useless as none.
            _ => Err(HttpError::Status {
                server: server.name.clone(),
                action: action.to_owned(),
                status: StatusCode::RANGE_NOT_SATISFIABLE.as_u16(),
                retry_after: None,
                message: String::new(),
            }),
        }
    }

    /// Decompresses the content, if a proxy has compressed it: then it has another length than it should have.
    fn decoder(&self, expected: Size) -> Option<GzDecoder<Vec<u8>>> {
        let is_as_stored = match expected {
            Size::Exactly(size) => self.length == Some(size),
            // The digests of files on web servers are those of what is transferred.
            Size::AtMost(_) => true,
        };
        (self.is_gzip && !is_as_stored).then(|| GzDecoder::new(Vec::new()))
    }
}

/// Downloads to `file`, after what it already holds, retries temporary failures and checks the digest.
///
/// # Errors
/// The file keeps everything received, unless its digest is wrong.
pub(crate) async fn download(
    source: &impl RangeSource,
    file: &mut PartialFile,
    expected: &Expected<'_>,
    observer: &impl Observer,
) -> Result<CompleteFile, HttpError> {
    // Content that was joined from several answers may be inconsistent, for example after a change on the server. Only
    // another download can tell that from a wrong digest.
    let mut was_restarted = false;
    loop {
        let was_joined = receive_all(source, file, expected, observer).await?;
        let complete = file.complete(expected.digest);
        match complete.map_err(HttpError::file("remove", file.path()))? {
            Ok(complete) => return Ok(complete),
            Err(_) if was_joined && !was_restarted => was_restarted = true,
            Err(found) => {
                return Err(HttpError::Digest {
                    server: source.server().name.clone(),
                    what: expected.what.to_owned(),
                    expected: expected.digest.clone(),
                    found,
                });
            }
        }
    }
}

/// Receives everything that is missing. True if the content comes from more than one answer.
async fn receive_all(
    source: &impl RangeSource,
    file: &mut PartialFile,
    expected: &Expected<'_>,
    observer: &impl Observer,
) -> Result<bool, HttpError> {
    let mut backoff = Backoff::default();
    let mut furthest = file.length();
    let mut was_joined = false;
    loop {
        let before = file.length();
        was_joined |= before > 0;
        if expected.size == Size::Exactly(before) {
            return Ok(was_joined);
        }
        let Err(error) = receive(source, file, expected, observer).await else {
            return Ok(was_joined);
        };
        // Only new bytes are progress; otherwise a server that cannot resume would be asked for ever.
        if file.length() > furthest {
            furthest = file.length();
            backoff.reset();
        }
        let is_range_refused = error.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE.as_u16());
        let is_useless = is_range_refused || matches!(error, HttpError::Length { .. });
        match expected.size {
            // There is nothing after it: the digest tells if it is complete.
            Size::AtMost(_) if is_range_refused && before > 0 => return Ok(true),
            Size::Exactly(_) if is_useless && before > 0 => {
                restart(file)?;
                backoff.retry_now(error)?;
            }
            _ => backoff.wait(error).await?,
        }
    }
}

/// Receives as much as arrives in one answer.
async fn receive(
    source: &impl RangeSource,
    file: &mut PartialFile,
    expected: &Expected<'_>,
    observer: &impl Observer,
) -> Result<(), HttpError> {
    let server = source.server();
    let action = format!("send {}", expected.what);
    let mut body = source.open(file.length()).await?;
    if body.start != file.length() {
        restart(file)?;
    }
    let check = |length: u64, is_end: bool| match expected.size {
        Size::Exactly(size) if length > size || (is_end && length != size) => Err(HttpError::Length {
            server: server.name.clone(),
            what: expected.what.to_owned(),
            found: length,
            expected: size,
        }),
        Size::AtMost(limit) if length > limit => Err(HttpError::TooLarge {
            server: server.name.clone(),
            what: expected.what.to_owned(),
            limit,
        }),
        _ => Ok(()),
    };
    let mut decoder = body.decoder(expected.size);
    if let Some(length) = body.length.filter(|_| decoder.is_none()) {
        check(body.start.saturating_add(length), true)?;
    }
    observer.started(body.start, body.length);
    let broken = |error: reqwest::Error| server.interrupted(&action, error.without_url());
    while let Some(chunk) = body.response.chunk().await.map_err(broken)? {
        observer.received(chunk.len() as u64);
        let decoded = match &mut decoder {
            Some(decoder) => {
                let decoded = decoder.write_all(&chunk).and_then(|()| decoder.flush());
                decoded.map_err(|error| server.interrupted(&action, error))?;
                std::mem::take(decoder.get_mut())
            }
            None => Vec::new(),
        };
        let chunk = if decoder.is_some() {
            &decoded[..]
        } else {
            &chunk[..]
        };
        check(file.length() + chunk.len() as u64, false)?;
        let written = file.append(chunk);
        written.map_err(HttpError::file("write", file.path()))?;
    }
    match expected.size {
        Size::Exactly(size) if file.length() < size => {
            Err(server.interrupted(&action, io::Error::from(io::ErrorKind::UnexpectedEof)))
        }
        _ => Ok(()),
    }
}

fn restart(file: &mut PartialFile) -> Result<(), HttpError> {
    let removed = file.restart();
    removed.map_err(HttpError::file("remove", file.path()))
}

/// The first byte of a range (RFC 9110 section 14.4: `bytes FIRST-LAST/LENGTH`).
fn first_byte(range: &str) -> Option<u64> {
    let (unit, range) = range.split_once(' ')?;
    let (first, _) = range.split_once('-')?;
    first.parse().ok().filter(|_| unit == "bytes")
}

#[cfg(test)]
mod tests {
    use super::first_byte;

    #[test]
    fn content_range_has_a_first_byte() {
        let cases = [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/*", Some(5)),
            ("bytes */10", None),
            ("lines 5-9/10", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(first_byte(text), expected, "{text}");
        }
    }
}
