//! Entries that lead outside of the layer.

use std::fs;

use parbake_artifact::PackOptions;
use tar::EntryType;

use crate::assert_rejected;
use crate::site::{Site, chain};
use crate::stream::{Stream, stream};

/// Paths to the canary without links.
fn paths_outside(site: &Site) -> Vec<String> {
    let up = |count: usize| "../".repeat(count) + "canary/file";
    let mut paths: Vec<_> = (1..8).map(up).collect();
    paths.push(site.outside());
    paths.push(format!("d/{}", up(5)));
    paths.push(format!("/{}", site.outside()));
    paths
}

/// Entries of all kinds at a path.
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
fn parent_and_absolute_paths_are_rejected() {
    let site = Site::new();
    for path in paths_outside(&site) {
        for stream in kinds(&path, "d") {
            let error = chain(&site.unpack(stream).unwrap_err());
            assert!(
                error.contains("`..`") || error.contains("absolute"),
                "{path}: {error}"
            );
        }
    }
}

#[test]
fn ustar_prefixes_are_rejected() {
    let stream = stream()
        .dir("a/")
        .raw(EntryType::Regular, "canary/file", b"hostile", |header| {
            let prefix = &mut header.as_ustar_mut().unwrap().prefix;
            prefix[..10].copy_from_slice(b"a/../../..");
        });
    assert_rejected(stream, "`..`");
}

#[test]
fn paths_through_symlinks_are_rejected() {
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
                "directory is not open",
                "twice",
                "not an earlier file of the layer",
            ];
            assert!(
                expected.iter().any(|text| error.contains(text)),
                "{target}: {error}"
            );
        }
    }
}

/// Attributes, owners and times are set on the link, which is never followed.
#[test]
fn symlinks_to_outside_are_not_followed() {
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
fn hard_links_to_outside_are_rejected() {
    let site = Site::new();
    for path in paths_outside(&site) {
        let error = chain(
            &site
                .unpack(stream().dir("d/").hard_link("link", &path))
                .unwrap_err(),
        );
        assert!(
            error.contains("`..`") || error.contains("absolute"),
            "{path}: {error}"
        );
    }
}

/// The other layer is unpacked in the same file system.
#[test]
fn hard_links_to_other_layers_are_rejected() {
    let site = Site::new();
    let other = site.unpack(stream().file("shared", b"of all clusters")).unwrap();
    let name = other.file_name().unwrap().to_str().unwrap();
    for (target, why) in [
        (format!("../{name}/shared"), "`..`"),
        (format!("../../unpacked/{name}/shared"), "`..`"),
        (other.join("shared").to_str().unwrap().to_owned(), "absolute"),
        ("shared".to_owned(), "not an earlier file of the layer"),
    ] {
        let error = chain(&site.unpack(stream().hard_link("link", &target)).unwrap_err());
        assert!(error.contains(why), "{target}: {error}");
    }
    let through = stream()
        .symlink("other", other.to_str().unwrap())
        .hard_link("link", "other/shared");
    let error = chain(&site.unpack(through).unwrap_err());
    assert!(error.contains("not an earlier file of the layer"), "{error}");
}

#[test]
fn whiteouts_outside_of_the_layer_are_rejected() {
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
        assert_rejected(stream().dir("d/").file(name, b""), "not a valid whiteout");
    }
    assert_rejected(stream().dir(".wh.d/"), "not a valid whiteout");
    assert_rejected(stream().symlink(".wh.d", "/"), "not a valid whiteout");
    assert_rejected(stream().file("d/.wh..wh..opq", b""), "directory is not open");
    // The store's directory of all layers.
    assert_rejected(stream().file("../.wh..wh..opq", b""), "`..`");
}

#[test]
fn duplicate_names_are_rejected() {
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
        assert_rejected(again, "twice");
    }
}

#[test]
fn over_long_names_are_rejected() {
    let path = |path: &[u8]| stream().records(&[("path", path)]).file("fine", b"");
    assert_rejected(path(&[b'x'; 256]), "too long");
    assert_rejected(path(&[b'x'; 5000]), "too long");
    assert_rejected(path(&[&b".wh."[..], &[b'x'; 256]].concat()), "too long");
    assert_rejected(path(&b"x/".repeat(2100)), "too long");
    assert_rejected(path(b"zero\0byte"), "zero byte");
    // The kernel limits the target of a link.
    let target = vec![b'x'; 4096];
    let stream = stream()
        .records(&[("linkpath", &target)])
        .entry(EntryType::Symlink, "link", b"");
    assert_rejected(stream, "cannot make its `link`");
}

#[test]
fn depth_is_limited() {
    assert_rejected(
        stream()
            .records(&[("path", &b"d/".repeat(257))])
            .entry(EntryType::Directory, "fine", b""),
        "more than 256 names",
    );
    // Ten thousand directories at the maximum depth.
    let mut hostile = stream();
    for depth in 1..10_000 {
        let path = "d/".repeat(depth.min(256));
        hostile = hostile
            .records(&[("path", path.as_bytes())])
            .entry(EntryType::Directory, "fine", b"");
    }
    assert_rejected(hostile, "twice");
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
    // Packing works on a thread with a small stack.
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
