//! Unsupported entries and false fields.

use std::fs;
use std::time::{Duration, Instant};

use tar::EntryType;

use crate::assert_rejected;
use crate::site::{Site, chain};
use crate::stream::{Stream, stream};

#[test]
fn device_nodes_are_rejected() {
    for kind in [EntryType::Char, EntryType::Block] {
        for numbers in [(0, 0), (1, 3), (8, 0), (u32::from(u16::MAX), 7)] {
            assert_rejected(stream().device(kind, "device", numbers), "it is a device");
            assert_rejected(
                stream().dir("dev/").device(kind, "dev/null", numbers),
                "it is a device",
            );
        }
    }
}

/// Packing leaves out what unpacking rejects.
#[test]
fn device_nodes_are_not_packed() {
    let site = Site::new();
    let dir = tempfile::tempdir_in(site.store.dir()).unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("file"), "").unwrap();
    let kind = rustix::fs::FileType::CharacterDevice;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        upper.join("null"),
        kind,
        rustix::fs::Mode::RUSR,
        null,
    )
    .unwrap();
    let layer = site
        .store
        .adopt_layer(
            "machine/node01",
            &upper,
            &parbake_artifact::PackOptions::default(),
        )
        .unwrap();
    let unpacked = site.store.unpacked(&layer).unwrap();
    let names: Vec<_> = fs::read_dir(unpacked)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["file"]);
}

#[test]
fn one_opaque_marker_per_directory_is_accepted() {
    let in_one = (0..5000).fold(stream(), |stream, _| stream.file(".wh..wh..opq", b""));
    assert_rejected(in_one, "twice");
    let count = 5000;
    let in_each = (0..count).fold(stream(), |stream, number| {
        stream
            .dir(&format!("{number}/"))
            .file(&format!("{number}/.wh..wh..opq"), b"")
    });
    let unpacked = Site::new();
    let unpacked = (unpacked.unpack(in_each).unwrap(), unpacked);
    let is_opaque =
        |number: u32| xattr::get(unpacked.0.join(number.to_string()), "trusted.overlay.opaque").unwrap();
    assert!((0..count).all(|number| is_opaque(number).as_deref() == Some(&b"y"[..])));
}

#[test]
fn unsupported_pax_records_are_rejected() {
    // Readers that use the record's size see other entries than those that use the header's.
    let hidden = stream().file("hidden", b"x").0.split_off(512);
    for size in [
        "0",
        "1",
        "512",
        "1024",
        "-1",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        let tricky = stream()
            .records(&[("size", size.as_bytes())])
            .file("file", &hidden);
        assert_rejected(tricky, "`size`");
    }
    for (key, value) in [
        ("uid", "0"),
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "../../canary/file"),
        ("GNU.sparse.realsize", "9999999999999"),
        ("GNU.sparse.map", "0,1"),
        ("SCHILY.realsize", "1"),
        ("RHT.security.selinux", "x"),
        ("LIBARCHIVE.xattr.user.a", "eA=="),
        ("hdrcharset", "UTF-16"),
        ("mtime", "1e99"),
        ("mtime", "99999999999999999999"),
    ] {
        let tricky = stream().records(&[(key, value.as_bytes())]).file("file", b"");
        assert_rejected(tricky, "is not supported");
    }
    assert_rejected(
        stream()
            .records(&[("path", b"a"), ("path", b"b")])
            .file("file", b""),
        "occurs twice",
    );
    for records in [
        &b"9999999999 path=a\n"[..],
        b"5 path=a\n",
        b"0 path=a\n",
        b"path=a\n",
        b"11 path=abc",
    ] {
        assert_rejected(
            stream()
                .entry(EntryType::XHeader, "PaxHeader", records)
                .file("file", b""),
            "pax record is malformed",
        );
    }
    let cut = stream().raw(EntryType::XHeader, "PaxHeader", b"", |header| {
        header.set_size(1 << 16)
    });
    assert_rejected(cut, "pax record is malformed");
    let long = stream()
        .records(&[("SCHILY.xattr.user.a", &vec![b'x'; 300 << 10])])
        .file("file", b"");
    assert_rejected(long, "bytes of pax records");
    assert_rejected(
        stream().records(&[("path", b"a")]).records(&[("path", b"b")]),
        "type 0x78",
    );
    assert_rejected(
        stream().entry(EntryType::XGlobalHeader, "g", b"10 path=x\n"),
        "type 0x67",
    );
}

#[test]
fn gnu_extensions_are_rejected() {
    assert_rejected(
        stream().entry(EntryType::GNULongName, "././@LongLink", b"../../canary/file\0"),
        "type 0x4c",
    );
    assert_rejected(
        stream().entry(EntryType::GNULongLink, "././@LongLink", b"/etc/passwd\0"),
        "type 0x4b",
    );
    assert_rejected(stream().entry(EntryType::GNUSparse, "sparse", b""), "type 0x53");
    for kind in [b'7', b'A', b'D', b'M', b'N', b'V', b'X', 0xff] {
        assert_rejected(stream().entry(EntryType::new(kind), "x", b""), "type 0x");
    }
}

/// Numbers in base 256, GNU tar's encoding for large or negative numbers.
#[test]
fn overflowing_numbers_are_rejected() {
    let with = |change: fn(&mut tar::Header)| stream().raw(EntryType::Regular, "file", b"", change);
    let wrong = "a field of its header is malformed";
    assert_rejected(with(|header| header.as_old_mut().mtime = [0xff; 12]), wrong);
    assert_rejected(with(|header| header.as_old_mut().uid = [0xff; 8]), wrong);
    assert_rejected(with(|header| header.set_uid(u64::from(u32::MAX))), wrong);
    assert_rejected(with(|header| header.set_gid(u64::MAX >> 8)), wrong);
    assert_rejected(with(|header| header.as_old_mut().mode = *b"9999999\0"), wrong);
    for size in [
        [0xff; 12],
        [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let huge = stream().raw(EntryType::Regular, "file", b"x", |header| {
            header.as_old_mut().size = size
        });
        let error = chain(&Site::new().unpack(huge).unwrap_err());
        assert!(
            error.contains("its data is truncated") || error.contains("size overflow"),
            "{error}"
        );
    }
    let negative = stream().raw(EntryType::Regular, "file", b"", |header| {
        header.as_old_mut().size = *b"-0000000001\0";
    });
    assert!(Site::new().unpack(negative).is_err());
    assert_rejected(
        stream().raw(EntryType::Directory, "d/", b"data", |_| {}),
        "has data but is not a file",
    );
}

#[test]
fn unsupported_attributes_are_rejected() {
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.overlay.verity",
        "user.overlay.redirect\0",
        "security.selinux",
        "security.ima",
        "system.nfs4_acl",
        "btrfs.compression",
        "",
    ] {
        let stream = stream()
            .records(&[(&format!("SCHILY.xattr.{name}"), b"/etc")])
            .file("file", b"");
        assert_rejected(stream, "attribute");
    }
}

/// As many attributes as fit in the records of an entry, and of many directories.
#[test]
fn memory_for_attributes_is_limited() {
    let names: Vec<_> = (0..6000)
        .map(|number| format!("SCHILY.xattr.user.{number}"))
        .collect();
    let records: Vec<_> = names.iter().map(|name| (&name[..], &b"x"[..])).collect();
    for bomb in [
        stream().records(&records).file("file", b""),
        stream().records(&records).dir("d/"),
    ] {
        let error = chain(&Site::new().unpack(bomb).unwrap_err());
        assert!(error.contains("cannot make its"), "{error}");
    }
    let value = vec![b'x'; 1000];
    let many = (0..2000).fold(stream(), |stream, number| {
        stream
            .records(&[("SCHILY.xattr.user.a", &value)])
            .dir(&format!("{number}/"))
    });
    Site::new().unpack(many).unwrap();
}

/// The limit on entries is tested in the unit tests, where it can be lowered.
#[test]
fn many_tiny_entries_are_unpacked_in_time() {
    let count = 30_000;
    let started = Instant::now();
    let many = (0..count).fold(stream(), |stream: Stream, number| {
        stream.file(&number.to_string(), b"")
    });
    let site = Site::new();
    let unpacked = site.unpack(many).unwrap();
    assert_eq!(fs::read_dir(unpacked).unwrap().count(), count);
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

/// Messages escape names.
#[test]
fn control_characters_are_escaped() {
    let name = "\u{1b}]0;owned\u{7}\r\u{9b}2J";
    let hostile = stream().file(name, b"").file(name, b"");
    let error = chain(&Site::new().unpack(hostile).unwrap_err());
    assert!(
        error.contains("\\u{1b}]0;owned\\u{7}\\u{d}\\u{9b}2J") && !error.contains('\u{1b}'),
        "{error:?}"
    );
    assert_rejected(stream().records(&[(name, b"")]).file("a", b""), "\\u{1b}");
    let xattr = format!("SCHILY.xattr.{name}");
    assert_rejected(stream().records(&[(&xattr, b"")]).file("a", b""), "\\u{1b}");
}
