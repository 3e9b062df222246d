use std::io;

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::super::anchors::Anchors;
use super::{MAGIC, MAX_FRAME, PIECE, REACH, WINDOW, Windows, apply, make};

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut delta = Vec::new();
    let drifts = Anchors::of(old).unwrap().drifts(new, PIECE).unwrap();
    make(&drifts, old, new, &mut delta).unwrap();
    delta
}

fn applied(old: &[u8], delta: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut new = Vec::new();
    apply(old, delta, &mut new, limit as u64).map(|()| new)
}

/// A delta of the given windows and frames.
fn made_of(pieces: &[(u64, &[u8])]) -> Vec<u8> {
    let mut delta = MAGIC.to_vec();
    for (start, frame) in pieces {
        delta.extend(start.to_le_bytes());
        delta.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        delta.extend(*frame);
    }
    delta
}

#[test]
fn windows_end_with_the_stream() {
    let stream = noise(2 * WINDOW, 1);
    let mut windows = Windows::new(stream.as_slice());
    for start in [
        0,
        0,
        5,
        PIECE,
        WINDOW - 1,
        WINDOW + PIECE,
        2 * WINDOW - 7,
        2 * WINDOW,
        1 << 40,
    ] {
        let (from, to) = (start.min(stream.len()), (start + WINDOW).min(stream.len()));
        assert!(windows.at(start as u64).unwrap() == &stream[from..to], "{start}");
    }
    assert!(windows.at(7).is_err());
}

#[test]
fn data_that_moved_a_little_is_found() {
    let old = noise(2 * PIECE + PIECE / 2, 2);
    // Not by a multiple of the block size.
    let new = [noise(100_000, 3).as_slice(), &old[..PIECE], &old[PIECE + 10..]].concat();
    let delta = delta(&old, &new);
    assert!(delta.len() < 110_000, "{}", delta.len());
    assert!(applied(&old, &delta, new.len()).unwrap() == new);
    assert!(applied(&old, &delta, new.len() - 1).is_err());
}

/// A large file was added or removed.
#[test]
fn data_that_moved_far_is_found() {
    let far = 2 * usize::try_from(REACH).unwrap();
    let (file, rest) = (noise(far, 4), noise(2 * PIECE, 5));
    let with = [noise(PIECE, 6), file, rest.clone()].concat();
    let without = [noise(PIECE, 6), rest].concat();
    let went = delta(&with, &without);
    assert!(went.len() < PIECE / 2, "{}", went.len());
    assert!(applied(&with, &went, without.len()).unwrap() == without);
    let came = delta(&without, &with);
    assert!(came.len() < far + PIECE / 2, "{}", came.len());
    assert!(applied(&without, &came, with.len()).unwrap() == with);
}

#[test]
fn windows_follow_drifts() {
    const MIB: i64 = 1 << 20;
    // Drift and window offset of each piece in MiB.
    let cases: [(&[Option<i64>], &[u64]); 5] = [
        (&[None; 5], &[0, 0, 0, 4, 8]),
        (&[Some(0), None, None, Some(40), None], &[0, 0, 0, 44, 48]),
        // After an insertion, later windows do not skip data.
        (&[Some(0), None, None, None, Some(-12)], &[0, 0, 0, 0, 0]),
        // One piece is found far behind the others.
        (&[None, None, Some(90), None, Some(0)], &[0, 0, 8, 8, 8]),
        (
            &[None, Some(i64::MIN), Some(i64::MAX)],
            &[0, 0, (i64::MAX >> 20) as u64],
        ),
    ];
    for (drifts, expected) in cases {
        let drifts: Vec<_> = drifts
            .iter()
            .map(|drift| drift.map(|drift| drift.saturating_mul(MIB)))
            .collect();
        let found: Vec<_> = super::starts(&drifts).iter().map(|start| start >> 20).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn streams_of_any_length_round_trip() {
    let lengths = [0, 1, PIECE - 1, PIECE, PIECE + 1];
    for (old, new) in lengths.iter().flat_map(|old| lengths.map(|new| (*old, new))) {
        let (old, new) = (noise(old, 7), noise(new, 7));
        assert!(applied(&old, &delta(&old, &new), new.len()).unwrap() == new);
    }
}

#[test]
fn damaged_deltas_are_rejected() {
    let (old, new) = (noise(10_000, 8), noise(12_000, 8));
    let delta = delta(&old, &new);
    for cut in [
        0,
        5,
        MAGIC.len() + 2,
        MAGIC.len() + 9,
        MAGIC.len() + 12,
        delta.len() - 1,
    ] {
        assert!(applied(&old, &delta[..cut], new.len()).is_err(), "{cut}");
    }
    // Another old stream gives an error, or another result, which its digest reveals.
    assert!(applied(&noise(10_000, 9), &delta, new.len()).is_ok_and(|wrong| wrong != new));
    assert!(applied(&[], &delta, new.len()).is_err());
}

#[test]
fn hostile_deltas_are_rejected() {
    let zeros = |count: usize| zstd::bulk::compress(&vec![0; count], 1).unwrap();
    let (piece, large) = (zeros(PIECE), zeros(PIECE + 1));
    let limit = 3 * PIECE;
    let wholes = made_of(&[(0, &piece), (9, &piece), (u64::MAX, &zeros(1))]);
    assert_eq!(applied(b"old", &wholes, limit).unwrap().len(), 2 * PIECE + 1);
    let cases = [
        ("no delta", b"parbake delta 2\n\0\0\0\0".to_vec()),
        ("back", made_of(&[(9, &piece), (8, &piece)])),
        ("a piece that is too large", made_of(&[(0, &large)])),
        ("pieces without end", made_of(&[(0, &zeros(0)), (0, &zeros(0))])),
        ("a short piece", made_of(&[(0, &zeros(1)), (0, &piece)])),
        ("too much", made_of(&[(0, &piece[..]); 4])),
        ("nothing behind the last piece", made_of(&[(0, b""), (0, b"")])),
        ("a long frame", [MAGIC.as_slice(), &[0; 8], &[0xff; 64]].concat()),
        ("a longer frame", made_of(&[(0, &vec![0; MAX_FRAME + 1])])),
    ];
    for (what, delta) in cases {
        assert!(applied(b"old", &delta, limit).is_err(), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_rejected(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let hostile = [MAGIC.as_slice(), &bytes].concat();
        if let Ok(new) = applied(b"old", &hostile, 1000) {
            assert!(new.len() <= 1000);
        }
    }

    /// Cut, inserted and moved data.
    #[test]
    fn edits_round_trip(edits in prop::collection::vec((0..200_000_usize, 0..50_000_usize, any::<u64>()), 0..6)) {
        let old = noise(200_000, 10);
        let mut new = old.clone();
        for (at, length, seed) in edits {
            let at = at.min(new.len());
            let end = (at + length).min(new.len());
            let put = match seed % 3 {
                0 => Vec::new(),
                1 => noise(length, seed),
                _ => old[..length].to_vec(),
            };
            new.splice(at..end, put);
        }
        assert!(applied(&old, &delta(&old, &new), new.len()).unwrap() == new);
    }

    #[test]
    fn corrupt_deltas_do_not_panic(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let (old, new) = (noise(20_000, 11), noise(30_000, 11));
        let mut delta = delta(&old, &new);
        let at = at.index(delta.len());
        delta[at] ^= flip;
        if let Ok(made) = applied(&old, &delta, new.len()) {
            assert!(made.len() <= new.len());
        }
    }
}
