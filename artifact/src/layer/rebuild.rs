//! Blobs of layers out of those of older ones.

use std::io::{self, Read, Write};

use super::anchors::Anchors;
use super::{delta, pack, read};

/// Threads that compress a layer: several layers are made side by side, and every further one holds more of the stream.
const WORKERS: usize = 1;

/// Writes the delta that makes the blob `new` out of the blob `old`. Both are opened anew for every time they are read.
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

/// Writes the blob of a layer that unpacks to `unpacked_size` bytes, as a delta makes it out of the blob `old`: the same
/// bytes as those of [`pack`](super::pack()). Whether they are the right ones their digest says, and nothing else does.
///
/// # Errors
/// Reading either, writing, or a delta that does not fit.
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
