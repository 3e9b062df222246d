use std::fs;
use std::io;
use std::path::Path;

use super::super::{PackOptions, Packed, pack};
use super::{make_delta, rebuild};
use crate::digest::Digest;

/// A tree of some files that do not compress, packed.
fn packed(dir: &Path, files: &[(&str, u8)]) -> (Vec<u8>, Packed) {
    fs::create_dir(dir).unwrap();
    for (name, seed) in files {
        let mut digest = Digest::of(&[*seed]);
        let mut text = String::new();
        for _ in 0..8_000 {
            text.push_str(digest.hex());
            digest = Digest::of(digest.hex().as_bytes());
        }
        fs::write(dir.join(name), text).unwrap();
    }
    let options = PackOptions {
        mtime_clamp: Some(0),
        ..PackOptions::default()
    };
    pack(dir, Vec::new(), &options).unwrap()
}

#[test]
fn rebuilt_blobs_are_identical() {
    let dir = tempfile::tempdir().unwrap();
    let (old, _) = packed(&dir.path().join("old"), &[("a", 1), ("b", 2), ("c", 3)]);
    let (new, facts) = packed(&dir.path().join("new"), &[("a", 1), ("aa", 4), ("c", 3)]);
    let mut delta = Vec::new();
    make_delta(|| Ok(&old[..]), || Ok(&new[..]), &mut delta).unwrap();
    assert!(delta.len() < new.len() / 2, "{} of {}", delta.len(), new.len());
    let mut again = Vec::new();
    rebuild(&old[..], &delta[..], facts.unpacked_size, &mut again).unwrap();
    assert!(again == new);
    // Truncated and other inputs are errors, and so is a delta that makes more than the size.
    for (old, size) in [
        (&old[..100], facts.unpacked_size),
        (b"old", 1 << 20),
        (&old, facts.unpacked_size - 1),
    ] {
        assert!(rebuild(old, &delta[..], size, io::sink()).is_err());
    }
}
