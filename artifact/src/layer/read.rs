//! Reads the entries of a layer's stream, and verifies the stream.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use tar::EntryType;
use zstd::stream::read::Decoder;

use super::Layer;
use super::entry::{self, Entry, EntryProblem};
use super::error::UnpackError;
use super::pax::Records;
use crate::digest::HashingStream;
use crate::printable::printable;

/// Base-two logarithm of the maximum window, which bounds memory: 8 MiB, which every decoder should support (RFC 8878, 3.1.1.1.2,
/// "Window Descriptor"). [`pack`](super::pack()) uses 2 MiB.
const WINDOW_LOG: u32 = 23;

/// Calls `read` with the uncompressed stream of `layer`, and verifies digest, size and diff id. What `read` did must not be used
/// unless this returns `Ok`.
pub(super) fn checked<T>(
    blob: impl Read,
    layer: &Layer,
    read: impl FnOnce(&mut dyn Read) -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let mut blob = HashingStream::new(blob.take(layer.size.saturating_add(1)));
    let outcome = decompressed(&mut blob, layer, read);
    io::copy(&mut blob, &mut io::sink()).map_err(UnpackError::Stream)?;
    let (_, found, found_size) = blob.finish();
    if found != layer.digest || found_size != layer.size {
        let (expected, size) = (layer.digest.clone(), layer.size);
        return Err(UnpackError::Damaged {
            expected,
            size,
            found,
            found_size,
        });
    }
    outcome
}

fn decompressed<T>(
    blob: impl Read,
    layer: &Layer,
    read: impl FnOnce(&mut dyn Read) -> Result<T, UnpackError>,
) -> Result<T, UnpackError> {
    let mut decoder = Decoder::new(blob).map_err(UnpackError::Stream)?;
    decoder.window_log_max(WINDOW_LOG).map_err(UnpackError::Stream)?;
    let bounded = Bounded {
        inner: decoder,
        left: layer.unpacked_size,
        exceeded: false,
    };
    let mut plain = BufReader::with_capacity(128 * 1024, HashingStream::new(bounded));
    let outcome = read(&mut plain);
    // Bytes after the archive's end count, too.
    let drained = io::copy(&mut plain, &mut io::sink());
    let (bounded, found, found_size) = plain.into_inner().finish();
    if bounded.exceeded {
        return Err(UnpackError::TooLarge {
            declared: layer.unpacked_size,
        });
    }
    let outcome = outcome?;
    drained.map_err(UnpackError::Stream)?;
    if found != layer.diff_id || found_size != layer.unpacked_size {
        let (expected, size) = (layer.diff_id.clone(), layer.unpacked_size);
        return Err(UnpackError::WrongContent {
            expected,
            size,
            found,
            found_size,
        });
    }
    Ok(outcome)
}

/// The uncompressed stream of a blob, not verified. Memory is bounded by the window.
pub(super) fn plain<R: Read>(blob: R) -> io::Result<Decoder<'static, BufReader<R>>> {
    let mut decoder = Decoder::new(blob)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}

/// Calls `visit` with each entry and its data, for up to `limit` entries.
pub(super) fn entries(
    plain: impl Read,
    limit: u64,
    mut visit: impl FnMut(Entry, &mut dyn Read) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut archive = tar::Archive::new(plain);
    let mut records: Option<Records> = None;
    let mut count = 0;
    for raw in archive.entries().map_err(UnpackError::Stream)?.raw(true) {
        let mut raw = raw.map_err(UnpackError::Stream)?;
        let place = PathBuf::from(String::from_utf8_lossy(&raw.header().path_bytes()).into_owned());
        let refused = |problem: EntryProblem| UnpackError::Refused {
            path: place,
            reason: chain(&problem),
        };
        if raw.header().entry_type() == EntryType::XHeader {
            if records.is_some() {
                return Err(refused(EntryProblem::Type(b'x')));
            }
            records = Some(entry::read_records(raw.size(), &mut raw).map_err(refused)?);
            continue;
        }
        let entry = Entry::parse(raw.header(), records.take().unwrap_or_default()).map_err(refused)?;
        count += 1;
        if count > limit {
            return Err(UnpackError::TooMany { limit });
        }
        visit(entry, &mut raw)?;
    }
    Ok(())
}

/// The error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    printable(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// A reader that fails after `left` bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => {
                self.exceeded = true;
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }
}
