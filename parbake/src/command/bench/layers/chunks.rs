//! An artifact as chunks, each compressed by itself and kept once.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use fastcdc::v2020::FastCDC;
use parbake_artifact::Digest;

use crate::output::size;

/// As layers are compressed.
const LEVEL: i32 = 3;
/// What an index must say of a chunk at least: its digest and its length, in bytes.
const INDEX_ENTRY: u64 = 36;

/// Where a stream is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// Every `size` bytes.
    Fixed { size: usize },
    /// Where the content says so, after `average` bytes more or less (Xia et al., FastCDC, 2020).
    Content { average: usize },
}

/// Chunks by digest, with the bytes that each takes: compressed, and its entry in an index.
#[derive(Debug, Default)]
pub(super) struct Chunked(BTreeMap<Digest, u64>);

impl Chunked {
    /// Adds a stream; chunks are only compressed where their size `matters`.
    pub(super) fn add(&mut self, stream: &[u8], cut: Cut, matters: bool) -> io::Result<()> {
        for chunk in chunks(stream, cut) {
            let digest = Digest::of(chunk);
            if self.0.contains_key(&digest) {
                continue;
            }
            let size = if matters {
                zstd::bulk::compress(chunk, LEVEL)?.len()
            } else {
                0
            };
            self.0.insert(digest, size as u64 + INDEX_ENTRY);
        }
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.0.values().sum()
    }

    /// The size of those chunks that `others` do not have.
    pub(super) fn size_without(&self, others: &Self) -> u64 {
        let missing = self
            .0
            .iter()
            .filter(|(digest, _)| !others.0.contains_key(*digest));
        missing.map(|(_, size)| size).sum()
    }
}

fn chunks(stream: &[u8], cut: Cut) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match cut {
        Cut::Fixed { size } => Box::new(stream.chunks(size)),
        Cut::Content { average } => {
            let cuts = FastCDC::new(stream, average / 4, average, average * 4);
            Box::new(cuts.map(|chunk| &stream[chunk.offset..chunk.offset + chunk.length]))
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { size: every } => write!(out, "chunks of {}", size(*every as u64)),
            Self::Content { average } => write!(out, "chunks by content, {}", size(*average as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunked, Cut};

    /// Bytes that do not repeat.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// The share of a stream's size that it takes after `insert` bytes were put before it.
    fn moved(cut: Cut, insert: usize) -> f64 {
        let stream = noise(1 << 20);
        let later = [vec![7; insert], stream.clone()].concat();
        let (mut before, mut after) = (Chunked::default(), Chunked::default());
        before.add(&stream, cut, false).unwrap();
        after.add(&later, cut, true).unwrap();
        after.size_without(&before) as f64 / after.size() as f64
    }

    #[test]
    fn only_content_finds_what_was_shifted() {
        let (fixed, content) = (Cut::Fixed { size: 16 << 10 }, Cut::Content { average: 16 << 10 });
        assert_eq!(moved(fixed, 0), 0.0);
        assert_eq!(moved(content, 0), 0.0);
        assert!(moved(fixed, 3) > 0.99, "{}", moved(fixed, 3));
        assert!(moved(content, 3) < 0.10, "{}", moved(content, 3));
    }
}
