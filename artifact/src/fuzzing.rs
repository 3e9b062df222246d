//! Fuzz targets for everything that reads bytes from a registry. Each function takes arbitrary bytes, and panics on a bug. They
//! are run by `fuzz/`, and by this crate's tests with the inputs in `fuzz/seeds/NAME/`, which include every input that ever
//! found a bug.

use std::fs;
use std::path::Path;

use tar::Header;

use crate::config::Config;
use crate::digest::Digest;
use crate::layer::{self, Layer, PackOptions, pack, unpack};
use crate::manifest::{self, Manifest};
use crate::reference::Reference;
use crate::tag::Tag;

/// Declared unpacked size of a fuzzed layer in bytes.
const UNPACKED_SIZE: u64 = 1 << 20;
/// Maximum output of a fuzzed delta in bytes: more than two pieces.
const DELTA_SIZE: u64 = 9 << 20;
/// The stream that fuzzed deltas are applied to: all pairs of some bytes, so that copies from different offsets differ.
const DELTA_FROM: [u8; 4096] = {
    let mut bytes = [0; 4096];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = if at % 2 == 0 {
            (at / 128) as u8
        } else {
            (at / 2 % 64) as u8
        };
        at += 1;
    }
    bytes
};

/// A layer: `z` and the compressed stream, or any other byte and the uncompressed stream, whose header checksums are corrected.
///
/// # Panics
/// Something outside of the destination changed, or packing the result again gives another tree.
pub fn layer(input: &[u8]) {
    let Some((kind, stream)) = input.split_first() else {
        return;
    };
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let outside = place.path().join("outside");
    fs::write(&outside, "untouched").expect("it can be written to");
    let unpacked = place.path().join("layer");
    fs::create_dir(&unpacked).expect("it can be written to");
    let outcome = if *kind == b'z' {
        unpack(stream, &described(stream), &unpacked)
    } else {
        layer::unpack_plain(&with_checksums(stream), &unpacked)
    };
    let untouched = fs::read(&outside).expect("it is still there");
    assert_eq!(untouched, b"untouched", "a file outside was written to");
    let names = fs::read_dir(place.path()).expect("it is still there").count();
    assert_eq!(names, 2, "something was made or removed outside");
    if outcome.is_ok() {
        check_packing(&unpacked, &place.path().join("again"));
    }
}

/// A delta from a stream of 4 KiB.
///
/// # Panics
/// It makes more than the limit, or is not deterministic.
pub fn delta(input: &[u8]) {
    let apply = || layer::apply_delta(&DELTA_FROM, input, DELTA_SIZE);
    if let Ok(made) = apply() {
        assert!(made.len() as u64 <= DELTA_SIZE, "{}", made.len());
        assert!(apply().is_ok_and(|again| again == made));
    }
}

/// The records of an extended header.
///
/// # Panics
/// Records that are valid do not survive a round trip.
pub fn pax(input: &[u8]) {
    layer::check_records(input);
}

/// A manifest, a zero byte, and its config.
///
/// # Panics
/// A manifest or config is accepted that violates its own checks.
pub fn manifest(input: &[u8]) {
    let (manifest, config) = match input.iter().position(|byte| *byte == 0) {
        Some(zero) => (&input[..zero], &input[zero + 1..]),
        None => (input, &b""[..]),
    };
    // On its own as well, since few manifests and configs match.
    let _ = Config::from_json(config).map_err(|error| check_printable(&error));
    let listed = match Manifest::from_json(manifest) {
        Ok(listed) => listed,
        Err(error) => return check_printable(&error),
    };
    match listed.with_config(config) {
        Ok((config, layers)) => {
            assert!(layers.iter().all(|layer| is_plain(&layer.title)), "{layers:?}");
            assert!(config.machines.iter().all(|machine| is_plain(&machine.name)));
            let again = manifest::to_json(&listed.config, &layers, listed.secrets);
            let again = Manifest::from_json(&again).expect("what is written can be read");
            assert_eq!(again, listed);
        }
        Err(error) => check_printable(&error),
    }
}

/// A tag, a digest or a reference.
///
/// # Panics
/// A valid one does not survive a round trip, or could lead out of a directory.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match text.parse::<Tag>() {
        Ok(tag) => assert!(tag.as_str() == text && is_name(text), "{text:?}"),
        Err(error) => check_printable(&error),
    }
    match text.parse::<Digest>() {
        Ok(digest) => assert!(digest.as_str() == text && is_name(digest.hex()), "{text:?}"),
        Err(error) => check_printable(&error),
    }
    match text.parse::<Reference>() {
        Ok(reference) => {
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            assert!(reference.registry().bytes().all(|byte| byte.is_ascii_graphic()));
            if let Ok(name) = reference.local_name() {
                assert!(is_name(name.as_str()), "{name}");
            }
        }
        Err(error) => check_printable(&error),
    }
}

/// A tree that was unpacked can be packed, and gives the same bytes when that is unpacked and packed again.
fn check_packing(unpacked: &Path, again: &Path) {
    let options = PackOptions::default();
    let (blob, first) = pack(unpacked, Vec::new(), &options).expect("what was unpacked can be packed");
    fs::create_dir(again).expect("it can be written to");
    unpack(&blob[..], &first.layer("again"), again).expect("what was packed can be unpacked");
    let (_, second) = pack(again, Vec::new(), &options).expect("what was unpacked can be packed");
    assert_eq!(first, second, "equal trees give equal bytes");
}

/// A layer with the blob's own digest and size.
fn described(blob: &[u8]) -> Layer {
    Layer {
        title: "fuzzed".to_owned(),
        digest: Digest::of(blob),
        diff_id: Digest::of(b""),
        size: blob.len() as u64,
        unpacked_size: UNPACKED_SIZE,
    }
}

/// Corrects the checksums of all headers: a fuzzer does not guess them, but an attacker computes them.
fn with_checksums(stream: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut stream = stream.to_vec();
    let mut at = 0_usize;
    while let Some(block) = stream.get_mut(at..at.saturating_add(BLOCK)) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().unwrap_or(0);
        let blocks = usize::try_from(size).unwrap_or(usize::MAX).div_ceil(BLOCK);
        at = at
            .saturating_add(BLOCK)
            .saturating_add(blocks.saturating_mul(BLOCK));
    }
    stream
}

/// Errors are shown on a terminal.
fn check_printable(error: &dyn std::error::Error) {
    for error in std::iter::successors(Some(error), |error| error.source()) {
        assert!(is_plain(&error.to_string()), "{:?}", error.to_string());
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// True for the name of one file in a directory.
fn is_name(text: &str) -> bool {
    !text.contains('/') && !text.starts_with('.') && is_plain(text)
}

#[cfg(test)]
mod tests;
