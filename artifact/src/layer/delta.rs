//! Deltas between the uncompressed streams of two layers.
//!
//! # The format
//! ```text
//! "parbake delta 1\n"
//! for each piece of the new stream, 4 MiB long, the last one shorter:
//! ├── offset of its window in the old stream, 64 bits, little-endian; not before that of the previous piece
//! ├── length of the frame in bytes, 32 bits, little-endian
//! └── a zstd frame (RFC 8878) with the window as its prefix: at most 20 MiB of the old stream
//! ```
//!
//! Between two builds of a program, data moves by less than the 8 MiB that a window reaches to either side; where a large file was
//! added or removed, the windows after it move by its length. So the memory to make and apply a delta does not depend on the
//! layer's size, unlike with `zstd --patch-from`, and both streams are read once, from start to end.
//!
//! A delta may be hostile. Its cost is bounded: a frame is not longer than an incompressible one, makes at most one piece, and all
//! pieces but the last are full, so that their number is bounded by the length of the new stream.

use std::io::{self, Read, Write};

use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

/// The start of a delta, with its version.
const MAGIC: &[u8; 16] = b"parbake delta 1\n";
/// Bytes of the new stream in a frame.
pub(super) const PIECE: usize = 4 << 20;
/// How far the window reaches to either side of a piece, in bytes.
pub(super) const REACH: u64 = 8 << 20;
/// Bytes of the old stream that a frame may refer to.
const WINDOW: usize = PIECE + 2 * REACH as usize;
/// Base-two logarithm of a zstd window that covers window and piece.
const WINDOW_LOG: u32 = 25;
/// Higher levels take ten times as long and save a tenth.
const LEVEL: i32 = 9;
/// Maximum length of a frame in bytes; more than that of an incompressible piece.
const MAX_FRAME: usize = PIECE + (PIECE >> 8) + 1024;
/// Length of a frame's header in bytes.
const HEADER: usize = 12;

/// Writes the delta from the stream `old` to the stream `new`. `drifts` has, for each piece, the distance in bytes from its offset
/// in the new stream to that in the old one, if it is known.
///
/// # Errors
/// Reading either stream, or writing.
pub(super) fn make(
    drifts: &[Option<i64>],
    old: impl Read,
    mut new: impl Read,
    mut out: impl Write,
) -> io::Result<()> {
    let mut old = Windows::new(old);
    out.write_all(MAGIC)?;
    let (mut piece, mut frame) = (Vec::with_capacity(PIECE), Vec::with_capacity(MAX_FRAME));
    for start in starts(drifts) {
        piece.clear();
        new.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        compress(&piece, old.at(start)?, &mut frame)?;
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        out.write_all(&start.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&frame)?;
    }
    out.flush()
}

/// The offsets of the pieces' windows. A piece of unknown drift moves like the one before it, but no window begins after that of a
/// later piece of known drift, since offsets never decrease.
fn starts(drifts: &[Option<i64>]) -> Vec<u64> {
    let begin = |index: usize, drift| {
        ((index * PIECE) as u64)
            .saturating_add_signed(drift)
            .saturating_sub(REACH)
    };
    let (mut last, mut least) = (0, u64::MAX);
    let mut starts: Vec<u64> = drifts
        .iter()
        .enumerate()
        .map(|(index, drift)| {
            last = drift.unwrap_or(last);
            begin(index, last)
        })
        .collect();
    for (index, (start, drift)) in starts.iter_mut().zip(drifts).enumerate().rev() {
        least = drift.map_or(least, |drift| least.min(begin(index, drift)));
        *start = least.min(*start);
    }
    let mut first = 0;
    for start in &mut starts {
        first = first.max(*start);
        *start = first;
    }
    starts
}

/// Applies `delta` to the stream `old`, and writes at most `limit` bytes. The result must be verified by its digest, since a delta
/// does not name its streams.
///
/// # Errors
/// Reading, writing, or a delta that is damaged or makes more than `limit` bytes ([`io::ErrorKind::InvalidData`]).
pub(super) fn apply(
    old: impl Read,
    mut delta: impl Read,
    mut out: impl Write,
    mut limit: u64,
) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    delta.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(invalid("it is not a delta of a supported version"));
    }
    let mut old = Windows::new(old);
    let (mut frame, mut piece) = (Vec::new(), Vec::with_capacity(PIECE));
    let mut ended = false;
    while let Some((start, length)) = read_header(&mut delta)? {
        // Otherwise empty pieces could continue without end.
        if ended {
            return Err(invalid("a piece of it is too short"));
        }
        frame.resize(length, 0);
        delta.read_exact(&mut frame)?;
        decompress(&frame, old.at(start)?, &mut piece)?;
        limit = limit
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| invalid("it makes more than the declared size"))?;
        ended = piece.len() < PIECE;
        out.write_all(&piece)?;
    }
    // No flush, which would make a compressor end its block.
    Ok(())
}

fn compress(piece: &[u8], window: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
    frame.clear();
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(window).map_err(failed)?;
    context.compress2(frame, piece).map(drop).map_err(failed)
}

/// Decompresses at most the piece's capacity.
fn decompress(frame: &[u8], window: &[u8], piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    let mut context = DCtx::create();
    context.ref_prefix(window).map_err(failed)?;
    context.decompress(piece, frame).map(drop).map_err(failed)
}

/// Offset of the next piece's window, and length of its frame; `None` at the end of the delta.
fn read_header(delta: &mut impl Read) -> io::Result<Option<(u64, usize)>> {
    let mut bytes = Vec::with_capacity(HEADER);
    delta.by_ref().take(HEADER as u64).read_to_end(&mut bytes)?;
    let Some((start, length)) = bytes.split_first_chunk::<8>() else {
        return if bytes.is_empty() { Ok(None) } else { Err(short()) };
    };
    let length = <[u8; 4]>::try_from(length).map_err(|_| short())?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(invalid("a piece of it is too long"));
    }
    Ok(Some((u64::from_le_bytes(*start), length)))
}

fn failed(code: usize) -> io::Error {
    invalid(get_error_name(code))
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Windows into a stream at increasing offsets.
struct Windows<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Offset of the buffer in the stream.
    start: u64,
}

impl<R: Read> Windows<R> {
    fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(WINDOW),
            start: 0,
        }
    }

    /// The window at `start`; empty after the end of the stream.
    fn at(&mut self, start: u64) -> io::Result<&[u8]> {
        let forward = start
            .checked_sub(self.start)
            .ok_or_else(|| invalid("its window offsets decrease"))?;
        let held = usize::try_from(forward).map_or(self.buffer.len(), |count| count.min(self.buffer.len()));
        self.buffer.drain(..held);
        let skipped = forward - held as u64;
        io::copy(&mut self.stream.by_ref().take(skipped), &mut io::sink())?;
        self.start = start;
        let missing = (WINDOW - self.buffer.len()) as u64;
        self.stream.by_ref().take(missing).read_to_end(&mut self.buffer)?;
        Ok(&self.buffer)
    }
}

#[cfg(test)]
mod tests;
