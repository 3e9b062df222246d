//! Where in an older stream something is that is in a newer one: by how much it moved.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::Hasher;
use std::io::{self, Read};

/// A tar stream's blocks, in bytes: what is equal in two of them is equal block by block (POSIX.1-2024, pax, "ustar
/// Interchange Format").
const BLOCK: usize = 512;
/// Read at a time, in bytes.
const BUFFER: usize = 256 * 1024;
/// Fewer blocks of a piece that moved alike are chance.
const ENOUGH: usize = 8;

/// Some blocks of a stream that are there once, and their places.
#[derive(Debug, Default)]
pub(super) struct Anchors(HashMap<u64, Option<u64>>);

impl Anchors {
    /// Those of a stream.
    ///
    /// # Errors
    /// When it cannot be read.
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
                    // What is there twice says nothing.
                    Entry::Occupied(mut entry) => drop(entry.insert(None)),
                }
            }
            at += buffer.len() as u64;
        }
    }

    /// For every piece of so many bytes of the stream `new`, a multiple of a block, by how much most of it moved, in bytes:
    /// from its place in there to that in the old one. `None` where too little of it is there.
    ///
    /// # Errors
    /// When it cannot be read.
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
        best.filter(|(_, votes)| *votes >= ENOUGH).map(|(drift, _)| drift)
    }
}

/// One block in sixteen by its content, never one that begins with zeros: its hash and its place.
fn sample(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let blocks = bytes.chunks_exact(BLOCK).zip((0..).step_by(BLOCK));
    blocks.filter_map(|(block, offset)| {
        let first = u64::from_le_bytes(*block.first_chunk()?);
        // Fibonacci hashing: the upper bits depend on all others.
        (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 1).then(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(block);
            (hasher.finish(), offset)
        })
    })
}
