//! These tests need root, since they create devices.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use proptest::prelude::{any, proptest};
use proptest::test_runner::Config as ProptestConfig;
use tar::{EntryType, Header};

use super::{UnpackError, unpack, unpack_entries};
use crate::digest::Digest;
use crate::layer::Layer;
use crate::layer::test_stream::Stream;

impl Stream {
    fn unpack(self, dir: &Path) -> Result<(), UnpackError> {
        let (blob, layer) = self.blob();
        unpack(&blob[..], &layer, dir)
    }

    /// Why the stream is rejected. Checks that nothing was created beside the destination.
    fn reason(self) -> String {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("outside"), "untouched").unwrap();
        let dir = temp.path().join("layer");
        fs::create_dir(&dir).unwrap();
        let error = self.unpack(&dir).unwrap_err();
        assert_eq!(
            fs::read_to_string(temp.path().join("outside")).unwrap(),
            "untouched"
        );
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
        match error {
            UnpackError::Refused { reason, .. } => reason,
            other => panic!("not rejected but: {other}"),
        }
    }
}

fn stream() -> Stream {
    Stream::default().dir("./")
}

#[track_caller]
fn assert_rejected(stream: Stream, why: &str) {
    let reason = stream.reason();
    assert!(reason.contains(why), "rejected for another reason: {reason}");
}

#[test]
fn paths_outside_are_rejected() {
    assert_rejected(stream().file("../outside", b"x"), "`..`");
    assert_rejected(stream().dir("a/").file("a/../../outside", b"x"), "`..`");
    assert_rejected(stream().file("/outside", b"x"), "absolute");
    assert_rejected(stream().pax(b"19 path=../outside\n").file("fine", b"x"), "`..`");
    assert_rejected(stream().pax(b"17 path=/outside\n").file("fine", b"x"), "absolute");
    let long = format!("path={}\n", "x".repeat(256));
    assert_rejected(
        stream().pax(format!("266 {long}").as_bytes()).file("fine", b"x"),
        "too long",
    );
}

#[test]
fn paths_through_links_are_rejected() {
    let to = |target: &str| stream().link(EntryType::Symlink, "link", target);
    for target in ["..", ".", "/tmp", "../outside"] {
        assert_rejected(to(target).file("link/outside", b"x"), "directory is not open");
        assert_rejected(to(target).dir("link/"), "twice");
        assert_rejected(to(target).file("link/.wh.outside", b""), "directory is not open");
        assert_rejected(to(target).file("link/.wh..wh..opq", b""), "directory is not open");
        assert_rejected(
            to(target).link(EntryType::Link, "hard", "link/outside"),
            "hard link",
        );
    }
    assert_rejected(to("../outside").file("link", b"overwritten"), "twice");
}

#[test]
fn hard_links_to_outside_are_rejected() {
    let link = |target: &str| stream().dir("dir/").link(EntryType::Link, "link", target);
    assert_rejected(link("../outside"), "`..`");
    assert_rejected(link("/etc/passwd"), "absolute");
    assert_rejected(link("later").file("later", b""), "hard link");
    assert_rejected(link("dir"), "hard link");
    assert_rejected(link("./"), "hard link");
    assert_rejected(link(""), "without a target");
    assert_rejected(
        stream()
            .file(".wh.gone", b"")
            .link(EntryType::Link, "link", "gone"),
        "hard link",
    );
}

#[test]
fn invalid_whiteouts_are_rejected() {
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "d/.wh..."] {
        assert_rejected(stream().dir("d/").file(name, b""), "not a valid whiteout");
    }
    assert_rejected(stream().file("../.wh.outside", b""), "`..`");
    assert_rejected(stream().file(".wh.full", b"data"), "not a valid whiteout");
    assert_rejected(stream().dir(".wh.dir/"), "not a valid whiteout");
    assert_rejected(
        stream().link(EntryType::Char, "gone", "0,0"),
        "a deletion is a file",
    );
    assert_rejected(stream().file("absent/.wh..wh..opq", b""), "directory is not open");
}

#[test]
fn repeated_and_unordered_entries_are_rejected() {
    assert_rejected(stream().file("a", b"").file("a", b""), "twice");
    assert_rejected(stream().dir("a/").dir("a/"), "twice");
    assert_rejected(stream().dir("./"), "twice");
    assert_rejected(stream().file("a", b"").file(".wh.a", b""), "twice");
    assert_rejected(stream().file(".wh.a", b"").file(".wh.a", b""), "twice");
    assert_rejected(stream().file(".wh.a", b"").file("a", b""), "twice");
    assert_rejected(
        stream().file(".wh..wh..opq", b"").file(".wh..wh..opq", b""),
        "twice",
    );
    assert_rejected(stream().file("absent/a", b""), "directory is not open");
    assert_rejected(stream().file("a", b"").file("a/b", b""), "directory is not open");
}

#[test]
fn unsupported_entries_are_rejected() {
    assert_rejected(stream().link(EntryType::Char, "null", "1,3"), "device");
    assert_rejected(stream().link(EntryType::Block, "disk", "8,0"), "device");
    assert_rejected(stream().link(EntryType::GNUSparse, "sparse", ""), "type 0x53");
    assert_rejected(
        stream().entry(EntryType::GNULongName, "x", "", b"../outside\0"),
        "type 0x4c",
    );
    assert_rejected(
        stream().entry(EntryType::XGlobalHeader, "x", "", b"10 path=x\n"),
        "type 0x67",
    );
    assert_rejected(stream().pax(b"10 path=a\n").pax(b"10 path=b\n"), "type 0x78");
    assert_rejected(
        stream().entry(EntryType::Directory, "a/", "", b"data"),
        "has data but is not a file",
    );
    assert_rejected(stream().pax(b"10 size=9\n").file("a", b"x"), "`size`");
    for name in [
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.opaque",
        "odd",
    ] {
        let record = format!("SCHILY.xattr.{name}=y\n");
        let record = format!("{} {record}", record.len() + 3);
        assert_rejected(stream().pax(record.as_bytes()).file("a", b""), "attribute");
    }
}

#[test]
fn invalid_owners_are_rejected() {
    let mut stream = stream().file("a", b"");
    let header_at = stream.0.len() - 512;
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&stream.0[header_at..]);
    header.set_uid(u32::MAX.into());
    header.set_cksum();
    stream.0[header_at..].copy_from_slice(header.as_bytes());
    assert_rejected(stream, "field of its header");
}

#[test]
fn opaque_markers_may_follow_siblings() {
    let temp = tempfile::tempdir().unwrap();
    let before = stream()
        .dir("d/")
        .file("d/.wh..wh..opq", b"")
        .file("d/.wh.a", b"")
        .file("d/b", b"x");
    let after = before
        .dir("e/")
        .file("e/b", b"x")
        .file("e/.wh.a", b"")
        .file("e/.wh..wh..opq", b"");
    after.unpack(temp.path()).unwrap();
    for name in ["d", "e"] {
        let dir = temp.path().join(name);
        assert_eq!(xattr::get(&dir, "trusted.overlay.opaque").unwrap().unwrap(), b"y");
        let gone = fs::symlink_metadata(dir.join("a")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"x");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }
}

/// With a lower limit than the real one.
#[test]
fn number_of_entries_is_limited() {
    let files = (0..9).fold(stream(), |stream, number| stream.file(&number.to_string(), b""));
    let unpack = |limit| {
        let temp = tempfile::tempdir().unwrap();
        unpack_entries(&files.0[..], temp.path(), limit)
    };
    unpack(10).unwrap();
    let error = unpack(9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it has more than 9 entries, the limit for a layer"
    );
}

#[test]
fn directories_are_not_reopened() {
    let left = "must be contiguous";
    assert_rejected(stream().dir("a/").dir("b/").file("a/late", b""), left);
    assert_rejected(
        stream().dir("a/").file("b", b"").file("a/.wh..wh..opq", b""),
        left,
    );
    assert_rejected(stream().dir("a/").dir("ab/").file("a/.wh.x", b""), left);
    assert_rejected(Stream::default().file("a", b""), left);
}

/// Unpacks `blob` as `layer` and returns the error.
fn error_of(blob: &[u8], layer: &Layer) -> UnpackError {
    let temp = tempfile::tempdir().unwrap();
    unpack(blob, layer, temp.path()).unwrap_err()
}

#[test]
fn decompression_bombs_stop_at_the_declared_size() {
    let (blob, honest) = stream().file("zeros", &vec![0; 8 << 20]).blob();
    let temp = tempfile::tempdir().unwrap();
    let lying = Layer {
        unpacked_size: 1 << 20,
        ..honest
    };
    let error = unpack(&blob[..], &lying, temp.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it unpacks to more than the 1048576 bytes it declares"
    );
    assert!(fs::metadata(temp.path().join("zeros")).unwrap().len() <= 1 << 20);
}

#[test]
fn corrupt_data_and_wrong_content_are_distinguished() {
    let (blob, layer) = stream().file("a", b"content").blob();
    for length in 0..blob.len() {
        assert!(
            matches!(error_of(&blob[..length], &layer), UnpackError::Damaged { .. }),
            "cut at {length}"
        );
    }
    for at in 0..blob.len() {
        let mut flipped = blob.clone();
        flipped[at] ^= 1;
        assert!(
            matches!(error_of(&flipped, &layer), UnpackError::Damaged { .. }),
            "flipped at {at}"
        );
    }
    let longer = [&blob[..], b"x"].concat();
    assert!(
        matches!(error_of(&longer, &layer), UnpackError::Damaged { found_size, .. } if found_size == layer.size + 1)
    );

    let other_id = Layer {
        diff_id: Digest::of(b""),
        ..layer.clone()
    };
    assert!(matches!(
        error_of(&blob, &other_id),
        UnpackError::WrongContent { .. }
    ));
    let longer = Layer {
        unpacked_size: layer.unpacked_size + 1,
        ..layer
    };
    assert!(matches!(
        error_of(&blob, &longer),
        UnpackError::WrongContent { .. }
    ));
}

#[test]
fn malformed_streams_with_correct_digests_are_rejected() {
    // Half an archive, and data that is not zstd, with matching digests.
    let (_, layer) = stream().file("a", &[1; 2000]).blob();
    let mut cut = stream().file("a", &[1; 2000]);
    cut.0.truncate(1536);
    let blob = zstd::encode_all(&cut.0[..], 1).unwrap();
    let (size, unpacked_size) = (blob.len() as u64, cut.0.len() as u64);
    let declared = Layer {
        digest: Digest::of(&blob),
        diff_id: Digest::of(&cut.0),
        size,
        unpacked_size,
        ..layer.clone()
    };
    assert!(
        matches!(error_of(&blob, &declared), UnpackError::Refused { reason, .. } if reason.contains("is truncated"))
    );

    let garbage = b"this is not zstd".to_vec();
    let declared = Layer {
        digest: Digest::of(&garbage),
        size: garbage.len() as u64,
        ..layer
    };
    assert!(matches!(error_of(&garbage, &declared), UnpackError::Stream(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Mutated streams do not panic or change anything outside.
    #[test]
    fn mutated_streams(position: proptest::sample::Index, value: [u8; 3], fix in any::<bool>()) {
        let original = stream()
            .dir("d/")
            .pax(b"30 SCHILY.xattr.user.a=value\n\n")
            .file("d/f", b"content")
            .link(EntryType::Symlink, "d/s", "../outside")
            .link(EntryType::Link, "h", "d/f")
            .file("d/.wh.gone", b"");
        let mut mutated = original;
        let at = position.index(mutated.0.len() - value.len());
        mutated.0[at..at + value.len()].copy_from_slice(&value);
        if fix {
            let block = at / 512 * 512;
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&mutated.0[block..block + 512]);
            header.set_cksum();
            (&mut mutated.0[block..block + 512]).write_all(header.as_bytes()).unwrap();
        }
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("outside"), "untouched").unwrap();
        let dir = temp.path().join("layer");
        fs::create_dir(&dir).unwrap();
        let _ = mutated.unpack(&dir);
        assert_eq!(fs::read_to_string(temp.path().join("outside")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
