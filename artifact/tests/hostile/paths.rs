//! Entries that lead out of the layer.

use std::fs;

use parbake_artifact::PackOptions;
use tar::EntryType;

use crate::assert_refused;
use crate::site::{Site, chain};
use crate::stream::{Stream, stream};

/// Ways to the canary that need no link.
fn ways_out(site: &Site) -> Vec<String> {
    let up = |count: usize| "../".repeat(count) + "canary/file";
    let mut ways: Vec<_> = (1..8).map(up).collect();
    ways.push(site.outside());
    ways.push(format!("d/{}", up(5)));
    ways.push(format!("/{}", site.outside()));
    ways
}

/// Everything that makes or changes something at a path.
fn kinds(path: &str, to: &str) -> Vec<Stream> {
    let by_record = |kind| {
        let records: [(&str, &[u8]); 2] = [("path", path.as_bytes()), ("linkpath", to.as_bytes())];
        stream().dir("d/").records(&records).entry(kind, "fine", b"")
    };
    let mut streams = vec![
        by_record(EntryType::Regular),
        by_record(EntryType::Directory),
        by_record(EntryType::Symlink),
        by_record(EntryType::Link),
        by_record(EntryType::Fifo),
    ];
    if path.len() < 100 {
        streams.push(stream().dir("d/").file(path, b"hostile"));
    }
    streams
}

#[test]
fn parent_and_absolute_paths() {
    let site = Site::new();
    for way in ways_out(&site) {
        for stream in kinds(&way, "d") {
            let error = chain(&site.unpack(stream).unwrap_err());
            assert!(
                error.contains("`..`") || error.contains("absolute"),
                "{way}: {error}"
            );
        }
    }
}

#[test]
fn paths_of_ustar_headers_in_two_parts() {
    let stream = stream()
        .dir("a/")
        .raw(EntryType::Regular, "canary/file", b"hostile", |header| {
            let prefix = &mut header.as_ustar_mut().unwrap().prefix;
            prefix[..10].copy_from_slice(b"a/../../..");
        });
    assert_refused(stream, "`..`");
}

#[test]
fn paths_through_symlinks() {
    let site = Site::new();
    let dir = site.outside().strip_suffix("/file").unwrap().to_owned();
    let targets = [&dir[..], "../../../../canary", "..", ".", "/", "d"];
    for target in targets {
        let link = stream().dir("d/").symlink("link", target);
        for stream in [
            link.clone().file("link/file", b"hostile"),
            link.clone().dir("link/"),
            link.clone().dir("link/new/"),
            link.clone().symlink("link/new", "x"),
            link.clone().hard_link("link/new", "link"),
            link.clone().hard_link("new", "link/file"),
            link.clone().file("link/.wh.file", b""),
            link.clone().file("link/.wh..wh..opq", b""),
            link.clone()
                .records(&[("SCHILY.xattr.user.a", b"x")])
                .file("link", b"hostile"),
            link.clone().file("link", b"hostile"),
        ] {
            let error = chain(&site.unpack(stream).unwrap_err());
            let expected = [
                "not in the layer before it",
                "twice",
                "no file of the layer before it",
            ];
            assert!(
                expected.iter().any(|text| error.contains(text)),
                "{target}: {error}"
            );
        }
    }
}

/// Attributes, owners and times of a link are those of the link; it is never followed.
#[test]
fn symlinks_out_of_the_layer_are_only_made() {
    let site = Site::new();
    let link = |target: &str| {
        stream()
            .records(&[("SCHILY.xattr.trusted.a", b"x"), ("mtime", b"1.5")])
            .symlink("link", target)
    };
    for target in [&site.outside()[..], "../../../../canary/file", &"../".repeat(30)] {
        let unpacked = site.unpack(link(target)).unwrap();
        assert_eq!(
            fs::read_link(unpacked.join("link")).unwrap().to_str().unwrap(),
            target
        );
    }
}

#[test]
fn hard_links_out_of_the_layer() {
    let site = Site::new();
    for way in ways_out(&site) {
        let error = chain(
            &site
                .unpack(stream().dir("d/").hard_link("link", &way))
                .unwrap_err(),
        );
        assert!(
            error.contains("`..`") || error.contains("absolute"),
            "{way}: {error}"
        );
    }
}

/// The other layer is unpacked beside this one, in the same file system.
#[test]
fn hard_links_to_other_layers() {
    let site = Site::new();
    let other = site.unpack(stream().file("shared", b"of all clusters")).unwrap();
    let name = other.file_name().unwrap().to_str().unwrap();
    for (target, why) in [
        (format!("../{name}/shared"), "`..`"),
        (format!("../../unpacked/{name}/shared"), "`..`"),
        (other.join("shared").to_str().unwrap().to_owned(), "absolute"),
        ("shared".to_owned(), "no file of the layer before it"),
    ] {
        let error = chain(&site.unpack(stream().hard_link("link", &target)).unwrap_err());
        assert!(error.contains(why), "{target}: {error}");
    }
    let through = stream()
        .symlink("other", other.to_str().unwrap())
        .hard_link("link", "other/shared");
    let error = chain(&site.unpack(through).unwrap_err());
    assert!(error.contains("no file of the layer before it"), "{error}");
}

#[test]
fn whiteouts_that_leave_the_layer() {
    let site = Site::new();
    for name in [
        "../.wh.canary",
        "../../../.wh.canary",
        "d/../../.wh.canary",
        "/.wh.canary",
    ] {
        let error = chain(&site.unpack(stream().dir("d/").file(name, b"")).unwrap_err());
        assert!(
            error.contains("`..`") || error.contains("absolute"),
            "{name}: {error}"
        );
    }
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "d/.wh..", "d/.wh..."] {
        assert_refused(stream().dir("d/").file(name, b""), "deletes nothing");
    }
    assert_refused(stream().dir(".wh.d/"), "deletes nothing");
    assert_refused(stream().symlink(".wh.d", "/"), "deletes nothing");
    assert_refused(stream().file("d/.wh..wh..opq", b""), "not in the layer before it");
    // Not of this layer's, but of the directory that the store keeps all layers in.
    assert_refused(stream().file("../.wh..wh..opq", b""), "`..`");
}

#[test]
fn duplicate_names() {
    for again in [
        stream().file("a", b"").file("a", b"other"),
        stream().file("a", b"").symlink("a", "/"),
        stream().file("a", b"").hard_link("a", "a"),
        stream().file("a", b"").dir("a/"),
        stream().file("a", b"").file(".wh.a", b""),
        stream().file(".wh.a", b"").file("a", b""),
        stream().file(".wh.a", b"").dir("a/"),
        stream().symlink("a", "/").file("a", b""),
        stream().dir("a/").symlink("a", "/"),
        stream().dir("a/").dir("a/"),
        stream().dir("a/").file(".wh.a", b""),
        stream().dir("./"),
        stream().file(".wh..wh..opq", b"").file(".wh..wh..opq", b""),
        stream().file("a", b"").records(&[("path", b"a")]).file("b", b""),
    ] {
        assert_refused(again, "twice");
    }
}

#[test]
fn over_long_names() {
    let path = |path: &[u8]| stream().records(&[("path", path)]).file("fine", b"");
    assert_refused(path(&[b'x'; 256]), "too long");
    assert_refused(path(&[b'x'; 5000]), "too long");
    assert_refused(path(&[&b".wh."[..], &[b'x'; 256]].concat()), "too long");
    assert_refused(path(&b"x/".repeat(2100)), "too long");
    assert_refused(path(b"zero\0byte"), "zero byte");
    // A target may be anything that symlink(2) takes.
    let target = vec![b'x'; 4096];
    let stream = stream()
        .records(&[("linkpath", &target)])
        .entry(EntryType::Symlink, "link", b"");
    assert_refused(stream, "cannot make its `link`");
}

#[test]
fn deep_paths() {
    assert_refused(
        stream()
            .records(&[("path", &b"d/".repeat(257))])
            .entry(EntryType::Directory, "fine", b""),
        "more than 256 names",
    );
    // Directory by directory, as deep as a path may be, and the same again ten thousand times.
    let mut hostile = stream();
    for depth in 1..10_000 {
        let path = "d/".repeat(depth.min(256));
        hostile = hostile
            .records(&[("path", path.as_bytes())])
            .entry(EntryType::Directory, "fine", b"");
    }
    assert_refused(hostile, "twice");
    let mut deep = stream();
    for depth in 1..=256 {
        let path = "d/".repeat(depth);
        deep = deep
            .records(&[("path", path.as_bytes())])
            .entry(EntryType::Directory, "fine", b"");
    }
    let site = Site::new();
    let unpacked = site.unpack(deep).unwrap();
    assert!(unpacked.join("d/".repeat(256)).is_dir());
    // What is unpacked can be packed, also by a thread with the small stack of the runtime's.
    let pack = || {
        site.store
            .add_layer("deep", &unpacked, &PackOptions::default())
            .map(drop)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn_scoped(scope, pack)
            .unwrap();
        thread.join().unwrap().unwrap();
    });
}
