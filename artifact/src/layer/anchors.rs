//! Estimates by how much parts of a stream moved between two versions.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::Hasher;
use std::io::{self, Read};

/// Block size of a tar stream in bytes: equal files are equal block by block (POSIX.1-2024, pax, "ustar Interchange Format").
const BLOCK: usize = 512;
/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;
/// Minimum number of blocks of a piece that must have moved by the same distance.
const MIN_VOTES: usize = 8;

/// Offsets of a sample of a stream's blocks by their hash; `None` for blocks that occur more than once.
#[derive(Debug, Default)]
pub(super) struct Anchors(HashMap<u64, Option<u64>>);

impl Anchors {
    /// Samples a stream.
    pub(super) fn of(mut stream: impl Read) -> io::Result<Self> {
        let mut places = HashMap::new();
        let (mut buffer, mut at) = (Vec::with_capacity(BUFFER), 0);
        loop {
            buffer.clear();
            stream.by_ref().take(BUFFER as u64).read_to_end(&mut buffer)?;
            if buffer.is_empty() {
                return Ok(Self(places));
            }
            for (hash, offset) in sample(&buffer) {
                match places.entry(hash) {
                    Entry::Vacant(entry) => drop(entry.insert(Some(at + offset))),
                    Entry::Occupied(mut entry) => drop(entry.insert(None)),
                }
            }
            at += buffer.len() as u64;
        }
    }

    /// For each piece of `length` bytes (a multiple of the block size) of the stream `new`: the distance in bytes from its offset
    /// there to that of most of its blocks in the old stream; `None` if too few blocks are found.
    pub(super) fn drifts(&self, mut new: impl Read, length: usize) -> io::Result<Vec<Option<i64>>> {
        let (mut piece, mut at, mut drifts) = (Vec::with_capacity(length), 0, Vec::new());
        loop {
            piece.clear();
            new.by_ref().take(length as u64).read_to_end(&mut piece)?;
            if piece.is_empty() {
                return Ok(drifts);
            }
            drifts.push(self.drift(&piece, at));
            at += piece.len() as u64;
        }
    }

    fn drift(&self, piece: &[u8], at: u64) -> Option<i64> {
        let mut votes: HashMap<i64, usize> = HashMap::new();
        for (hash, offset) in sample(piece) {
            if let Some(Some(old)) = self.0.get(&hash) {
                *votes
                    .entry(old.wrapping_sub(at + offset).cast_signed())
                    .or_default() += 1;
            }
        }
        let best = votes.into_iter().max_by_key(|(drift, votes)| (*votes, *drift));
        best.filter(|(_, votes)| *votes >= MIN_VOTES)
            .map(|(drift, _)| drift)
    }
}

/// Hash and offset of one block in sixteen, selected by content. Blocks that begin with zeros are never selected.
fn sample(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let blocks = bytes.chunks_exact(BLOCK).zip((0..).step_by(BLOCK));
    blocks.filter_map(|(block, offset)| {
        let first = u64::from_le_bytes(*block.first_chunk()?);
        // Fibonacci hashing: the upper bits depend on all bits.
        (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 1).then(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(block);
            (hasher.finish(), offset)
        })
    })
}
