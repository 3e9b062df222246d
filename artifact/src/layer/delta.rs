//! A layer's plain stream as what makes it out of an older one's.
//!
//! # The format
//! ```text
//! "parbake delta 1\n"
//! for each piece of the new stream, 4 MiB long, the last one shorter:
//! ├── where its window into the old stream begins, 64 bits, little-endian; not before that of the piece before
//! ├── length of the frame in bytes, 32 bits, little-endian
//! └── a zstd frame (RFC 8878) with the window as its prefix: the old stream from there on, at most 20 MiB of it
//! ```
//!
//! What moved between two builds of a program moved by less than the 8 MiB that the window reaches to either side; and
//! when a large file came or went, the windows behind it move by its length. So making and applying take the same memory
//! whatever the layer's size, which `zstd --patch-from` over the whole does not, and both streams are read once, from the
//! start to the end.
//!
//! A delta may be hostile. What it takes is bounded: a frame is never longer than what does not compress, makes no more
//! than a piece, and every piece but the last is whole, so that there are no more than the new stream is long.

use std::io::{self, Read, Write};

use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

/// What a delta begins with, its version included.
const MAGIC: &[u8; 16] = b"parbake delta 1\n";
/// Bytes of the new stream in a frame.
pub(super) const PIECE: usize = 4 << 20;
/// How far to either side of a piece the old stream is looked at, in bytes.
pub(super) const REACH: u64 = 8 << 20;
/// Bytes of the old stream that a frame may refer to.
const WINDOW: usize = PIECE + 2 * REACH as usize;
/// Base-two logarithm of what reaches back over window and piece.
const WINDOW_LOG: u32 = 25;
/// Deltas are made once and moved many times; higher levels take ten times as long and save a tenth.
const LEVEL: i32 = 9;
/// More than a frame can have whose piece does not compress at all, in bytes.
const MAX_FRAME: usize = PIECE + (PIECE >> 8) + 1024;
/// Bytes before a frame.
const HEADER: usize = 12;

/// Writes what makes the stream `new` out of the stream `old`. For every piece it is told by how much that moved, as far
/// as this is known: from its place in the new stream to that in the old one, in bytes.
///
/// # Errors
/// Reading either, or writing.
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
        compress(&piece, old.from(start)?, &mut frame)?;
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        out.write_all(&start.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&frame)?;
    }
    out.flush()
}

/// Where the pieces' windows begin. What is not known to have moved moved as what is before it, but no window begins
/// behind one that something was found in later: there is no way back.
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

/// Writes the stream that `delta` makes out of the stream `old`, but no more than `limit` bytes of it. What comes out must
/// be checked by its digest: a delta does not say what it is for.
///
/// # Errors
/// Reading either, writing, or a delta that is damaged or makes more ([`io::ErrorKind::InvalidData`]).
pub(super) fn apply(
    old: impl Read,
    mut delta: impl Read,
    mut out: impl Write,
    mut limit: u64,
) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    delta.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(invalid("it is no delta that this parbake understands"));
    }
    let mut old = Windows::new(old);
    let (mut frame, mut piece) = (Vec::new(), Vec::with_capacity(PIECE));
    let mut ended = false;
    while let Some((start, length)) = read_header(&mut delta)? {
        // Or a delta of nothing would go on for ever.
        if ended {
            return Err(invalid("a piece of it is too short"));
        }
        frame.resize(length, 0);
        delta.read_exact(&mut frame)?;
        decompress(&frame, old.from(start)?, &mut piece)?;
        limit = limit
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| invalid("it makes more than it may"))?;
        ended = piece.len() < PIECE;
        out.write_all(&piece)?;
    }
    // No flush: a compressor would make a block of its own of what it has.
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

/// Into the piece's capacity, whatever the frame says that it makes.
fn decompress(frame: &[u8], window: &[u8], piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    let mut context = DCtx::create();
    context.ref_prefix(window).map_err(failed)?;
    context.decompress(piece, frame).map(drop).map_err(failed)
}

/// Where the next piece's window begins, and the length of its frame; nothing at the delta's end.
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

/// What is in a stream from some place on, and then from a later one.
struct Windows<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Where in the stream the buffer begins.
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

    /// What is there; nothing behind the stream's end.
    fn from(&mut self, start: u64) -> io::Result<&[u8]> {
        let forward = start
            .checked_sub(self.start)
            .ok_or_else(|| invalid("it goes back in what it is made from"))?;
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
