//! Entries that no layer has, and fields that lie.

use std::fs;
use std::time::{Duration, Instant};

use tar::EntryType;

use crate::assert_refused;
use crate::site::{Site, chain};
use crate::stream::{Stream, stream};

#[test]
fn device_nodes() {
    for kind in [EntryType::Char, EntryType::Block] {
        for numbers in [(0, 0), (1, 3), (8, 0), (u32::from(u16::MAX), 7)] {
            assert_refused(stream().device(kind, "device", numbers), "it is a device");
            assert_refused(
                stream().dir("dev/").device(kind, "dev/null", numbers),
                "it is a device",
            );
        }
    }
}

/// Whoever bakes has what unpacking would refuse left out, instead of an artifact that nobody can use.
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
fn thousands_of_opaque_whiteouts() {
    let in_one = (0..5000).fold(stream(), |stream, _| stream.file(".wh..wh..opq", b""));
    assert_refused(in_one, "twice");
    // One in each of as many directories is what a layer may have.
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
fn pax_size_tricks() {
    // Readers that believe the record see other entries than those that believe the header.
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
        assert_refused(tricky, "`size`");
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
        assert_refused(tricky, "is not one that layers have");
    }
    assert_refused(
        stream()
            .records(&[("path", b"a"), ("path", b"b")])
            .file("file", b""),
        "there twice",
    );
    for records in [
        &b"9999999999 path=a\n"[..],
        b"5 path=a\n",
        b"0 path=a\n",
        b"path=a\n",
        b"11 path=abc",
    ] {
        assert_refused(
            stream()
                .entry(EntryType::XHeader, "PaxHeader", records)
                .file("file", b""),
            "pax record is malformed",
        );
    }
    let cut = stream().raw(EntryType::XHeader, "PaxHeader", b"", |header| {
        header.set_size(1 << 16)
    });
    assert_refused(cut, "pax record is malformed");
    let long = stream()
        .records(&[("SCHILY.xattr.user.a", &vec![b'x'; 300 << 10])])
        .file("file", b"");
    assert_refused(long, "bytes of pax records");
    assert_refused(
        stream().records(&[("path", b"a")]).records(&[("path", b"b")]),
        "type 0x78",
    );
    assert_refused(
        stream().entry(EntryType::XGlobalHeader, "g", b"10 path=x\n"),
        "type 0x67",
    );
}

#[test]
fn extensions_of_gnu_tar() {
    assert_refused(
        stream().entry(EntryType::GNULongName, "././@LongLink", b"../../canary/file\0"),
        "type 0x4c",
    );
    assert_refused(
        stream().entry(EntryType::GNULongLink, "././@LongLink", b"/etc/passwd\0"),
        "type 0x4b",
    );
    assert_refused(stream().entry(EntryType::GNUSparse, "sparse", b""), "type 0x53");
    for kind in [b'7', b'A', b'D', b'M', b'N', b'V', b'X', 0xff] {
        assert_refused(stream().entry(EntryType::new(kind), "x", b""), "type 0x");
    }
}

/// Numbers in base 256, as GNU tar has those that are too large for octal digits (or negative).
#[test]
fn numbers_that_overflow() {
    let with = |change: fn(&mut tar::Header)| stream().raw(EntryType::Regular, "file", b"", change);
    let wrong = "a field of its header is malformed";
    assert_refused(with(|header| header.as_old_mut().mtime = [0xff; 12]), wrong);
    assert_refused(with(|header| header.as_old_mut().uid = [0xff; 8]), wrong);
    assert_refused(with(|header| header.set_uid(u64::from(u32::MAX))), wrong);
    assert_refused(with(|header| header.set_gid(u64::MAX >> 8)), wrong);
    assert_refused(with(|header| header.as_old_mut().mode = *b"9999999\0"), wrong);
    for size in [
        [0xff; 12],
        [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let huge = stream().raw(EntryType::Regular, "file", b"x", |header| {
            header.as_old_mut().size = size
        });
        let error = chain(&Site::new().unpack(huge).unwrap_err());
        assert!(
            error.contains("its data ends early") || error.contains("size overflow"),
            "{error}"
        );
    }
    let negative = stream().raw(EntryType::Regular, "file", b"", |header| {
        header.as_old_mut().size = *b"-0000000001\0";
    });
    assert!(Site::new().unpack(negative).is_err());
    assert_refused(
        stream().raw(EntryType::Directory, "d/", b"data", |_| {}),
        "only files have data",
    );
}

#[test]
fn attributes_that_layers_do_not_have() {
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
        assert_refused(stream, "attribute");
    }
}

/// As many attributes as fit into the records of an entry; and directories, whose attributes could pile up until the
/// end of the stream.
#[test]
fn attribute_bombs() {
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

/// What the smallest entries cost; the limit, 4,194,304 of them, is tested where it can be lowered.
#[test]
fn tens_of_thousands_of_tiny_entries() {
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

/// Names and contents come back as they are; what quotes them does not let them steer a terminal.
#[test]
fn names_that_steer_terminals() {
    let name = "\u{1b}]0;owned\u{7}\r\u{9b}2J";
    let hostile = stream().file(name, b"").file(name, b"");
    let error = chain(&Site::new().unpack(hostile).unwrap_err());
    assert!(
        error.contains("\\u{1b}]0;owned\\u{7}\\u{d}\\u{9b}2J") && !error.contains('\u{1b}'),
        "{error:?}"
    );
    assert_refused(stream().records(&[(name, b"")]).file("a", b""), "\\u{1b}");
    let xattr = format!("SCHILY.xattr.{name}");
    assert_refused(stream().records(&[(&xattr, b"")]).file("a", b""), "\\u{1b}");
}
