//! Layers of false sizes, and layers that need too many resources.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use parbake_artifact::{Digest, Layer};
use zstd::stream::raw::CParameter;

use crate::site::{Site, chain};
use crate::stream::{describe, stream};

fn error_of(blob: &[u8], layer: &Layer) -> String {
    chain(&Site::new().unpack_blob(blob, layer).unwrap_err())
}

/// A gigabyte of zeros in some kilobytes, of false declared size.
#[test]
fn zstd_bombs_stop_at_the_declared_size() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let head = stream().raw(tar::EntryType::Regular, "bomb", b"", |header| {
        header.set_size(1 << 30)
    });
    encoder.write_all(&head.0).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    let blob = encoder.finish().unwrap();
    assert!(blob.len() < 1 << 17, "{}", blob.len());
    let declared = Layer {
        unpacked_size: 1 << 20,
        ..describe(&blob, b"")
    };
    let started = Instant::now();
    let error = error_of(&blob, &declared);
    assert!(
        error.contains("unpacks to more than the 1048576 bytes it declares"),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

/// A bomb of true declared size.
#[test]
fn declared_zstd_bombs_are_rejected() {
    let site = Site::new();
    let (blob, layer) = stream().file("file", b"").blob();
    for unpacked_size in [17 << 30, 1 << 50, u64::MAX] {
        let bomb = Layer {
            unpacked_size,
            ..layer.clone()
        };
        let error = chain(&site.unpack_blob(&blob, &bomb).unwrap_err());
        assert!(error.contains("more than 256 times as much"), "{error}");
    }
}

#[test]
fn false_sizes_are_rejected() {
    let (blob, layer) = stream().file("file", b"content").blob();
    let (size, unpacked_size) = (layer.size, layer.unpacked_size);
    for (lie, why) in [
        (
            Layer {
                size: size - 1,
                ..layer.clone()
            },
            "is not in the store",
        ),
        (
            Layer {
                size: size + 1,
                ..layer.clone()
            },
            "is not in the store",
        ),
        (
            Layer {
                size: u64::MAX,
                ..layer.clone()
            },
            "larger than 1 TiB",
        ),
        (
            Layer {
                unpacked_size: 0,
                ..layer.clone()
            },
            "more than the 0 bytes",
        ),
        (
            Layer {
                unpacked_size: unpacked_size - 1,
                ..layer.clone()
            },
            "unpacks to more than",
        ),
        (
            Layer {
                unpacked_size: unpacked_size + 1,
                ..layer.clone()
            },
            "the unpacked data differs",
        ),
        (
            Layer {
                diff_id: Digest::of(b"other"),
                ..layer.clone()
            },
            "the unpacked data differs",
        ),
    ] {
        let error = error_of(&blob, &lie);
        assert!(error.contains(why), "{lie:?}: {error}");
    }
}

/// A zstd window may be up to 3.75 TiB.
#[test]
fn huge_windows_are_rejected() {
    let plain = stream().file("file", &[7; 4096]).plain();
    let with_window = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(CParameter::WindowLog(log)).unwrap();
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    for log in [24, 27, 30] {
        let blob = with_window(log);
        let error = error_of(&blob, &describe(&blob, &plain));
        assert!(error.contains("too much memory"), "{log}: {error}");
    }
    let blob = with_window(23);
    Site::new().unpack_blob(&blob, &describe(&blob, &plain)).unwrap();
    // The largest window: magic number, no checksum and size, exponent 31 and mantissa 7 (RFC 8878, 3.1.1.1.2).
    let blob = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xff][..], &[1, 0, 0]].concat();
    let error = error_of(&blob, &describe(&blob, b""));
    assert!(error.contains("stream cannot be read"), "{error}");
}

#[test]
fn skippable_and_many_frames_are_read() {
    let plain = stream().file("file", b"content").plain();
    let frame = zstd::encode_all(&plain[..], 1).unwrap();
    // Skippable frames, one of which is cut off.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
    let empty = zstd::encode_all(&b""[..], 1).unwrap();
    let many = [
        skippable.repeat(100_000),
        empty.repeat(100_000),
        frame.clone(),
        skippable.repeat(1000),
    ]
    .concat();
    let started = Instant::now();
    Site::new().unpack_blob(&many, &describe(&many, &plain)).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    let cut = [&frame[..], &[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff]].concat();
    let error = error_of(&cut, &describe(&cut, &plain));
    assert!(error.contains("stream cannot be read"), "{error}");
    // A frame per block is unusual, but valid.
    let pieces: Vec<u8> = plain
        .chunks(512)
        .flat_map(|block| zstd::encode_all(block, 1).unwrap())
        .collect();
    Site::new()
        .unpack_blob(&pieces, &describe(&pieces, &plain))
        .unwrap();
}

/// Data after the end of the archive counts towards the size.
#[test]
fn data_after_the_end() {
    let mut plain = stream().file("file", b"").plain();
    plain.extend_from_slice(&stream().file("hidden", b"").plain());
    let blob = zstd::encode_all(&plain[..], 1).unwrap();
    let site = Site::new();
    let unpacked = site.unpack_blob(&blob, &describe(&blob, &plain)).unwrap();
    assert_eq!(fs::read_dir(unpacked).unwrap().count(), 1);
    let shorter = Layer {
        unpacked_size: plain.len() as u64 - 512,
        ..describe(&blob, &plain)
    };
    let error = error_of(&blob, &shorter);
    assert!(error.contains("unpacks to more than"), "{error}");
}

/// A terabyte that is declared in a header needs neither a terabyte nor the memory to hold it.
#[test]
fn files_that_end_early() {
    for size in [1 << 20, 1 << 40, 1 << 62] {
        let head = stream().raw(tar::EntryType::Regular, "file", b"some", |header| {
            header.set_size(size)
        });
        let error = chain(&Site::new().unpack(head).unwrap_err());
        assert!(error.contains("is truncated"), "{error}");
    }
}

#[test]
fn zeros_become_holes() {
    let site = Site::new();
    let unpacked = site.unpack(stream().file("zeros", &vec![0; 64 << 20])).unwrap();
    let metadata = fs::metadata(unpacked.join("zeros")).unwrap();
    assert_eq!((metadata.size(), metadata.blocks()), (64 << 20, 0));
}
