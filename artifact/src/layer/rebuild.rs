//! Makes and applies deltas between blobs of layers.

use std::io::{self, Read, Write};

use super::anchors::Anchors;
use super::{delta, pack, read};

/// Compression threads per layer. Several layers are rebuilt in parallel, and each thread buffers part of the stream.
const WORKERS: usize = 1;

/// Writes the delta from the blob `old` to the blob `new`. Both are read twice.
///
/// # Errors
/// Opening or reading either, or writing.
pub(crate) fn make_delta<R: Read>(
    old: impl Fn() -> io::Result<R>,
    new: impl Fn() -> io::Result<R>,
    out: impl Write,
) -> io::Result<()> {
    let drifts = Anchors::of(read::plain(old()?)?)?.drifts(read::plain(new()?)?, delta::PIECE)?;
    delta::make(&drifts, read::plain(old()?)?, read::plain(new()?)?, out)
}

/// Applies a delta to the blob `old`, and writes the blob of a layer of `unpacked_size` bytes: the same bytes as [`pack`](super::pack())
/// makes. They must be verified by their digest.
///
/// # Errors
/// Reading either, writing, or a delta that does not match.
pub(crate) fn rebuild(
    old: impl Read,
    delta: impl Read,
    unpacked_size: u64,
    out: impl Write,
) -> io::Result<()> {
    let mut encoder = pack::encoder(out, WORKERS)?;
    delta::apply(read::plain(old)?, delta, &mut encoder, unpacked_size)?;
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests;
