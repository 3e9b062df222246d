//! Generates the seeds of the fuzz targets, and runs the targets with all committed inputs.
//!
//! `PARBAKE_WRITE_SEEDS=1 cargo test -p parbake-artifact seeds` writes the seeds again.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use proptest::test_runner::Config as ProptestConfig;
use tar::EntryType;

use super::{DELTA_FROM, delta, layer, manifest, names, pax};
use crate::digest::Digest;
use crate::layer::Layer;
use crate::layer::test_stream::Stream;
use crate::manifest::{BlobRef, to_json};

/// Target, name and content of an input.
type Seed = (&'static str, &'static str, Vec<u8>);

fn dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target)
}

#[test]
fn committed_seeds_are_current() {
    let write = std::env::var_os("PARBAKE_WRITE_SEEDS").is_some();
    for (target, name, bytes) in seeds() {
        let path = dir(target).join(name);
        if write {
            fs::create_dir_all(dir(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert!(
            committed == bytes,
            "{} is outdated; run PARBAKE_WRITE_SEEDS=1 cargo test -p parbake-artifact seeds",
            path.display()
        );
    }
}

/// Mutations should start from a valid layer.
#[test]
fn largest_seed_is_valid() {
    let temp = tempfile::tempdir().unwrap();
    let (blob, layer) = everything().blob();
    crate::layer::unpack(&blob[..], &layer, temp.path()).unwrap();
}

/// Name and function of a target.
type Target = (&'static str, fn(&[u8]));

/// Includes inputs that a fuzzer found.
#[test]
fn committed_inputs_do_not_panic() {
    let targets: [Target; 5] = [
        ("delta", delta),
        ("layer", layer),
        ("manifest", manifest),
        ("names", names),
        ("pax", pax),
    ];
    for (target, run) in targets {
        let inputs: Vec<_> = fs::read_dir(dir(target)).unwrap().map(Result::unwrap).collect();
        assert!(inputs.len() >= 4, "{target}");
        for input in inputs {
            run(&fs::read(input.path()).unwrap());
        }
    }
}

fn seeds() -> Vec<Seed> {
    [layers(), deltas(), records(), manifests(), texts()].concat()
}

/// A pax record; its length includes its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let has = |digits: &usize| (rest + digits).to_string().len() == *digits;
    let digits = (1..20).find(has).unwrap();
    let head = format!("{} {key}=", rest + digits);
    [head.as_bytes(), value, b"\n"].concat()
}

fn stream() -> Stream {
    Stream::default().dir("./")
}

/// Every kind of entry that a layer may have.
fn everything() -> Stream {
    stream()
        .file(".wh.gone", b"")
        .dir("d/")
        .file("d/.wh..wh..opq", b"")
        .pax(
            &[
                record("mtime", b"-1.5"),
                record("SCHILY.xattr.trusted.a", b"b\n\n"),
            ]
            .concat(),
        )
        .file("d/file", b"content")
        .link(EntryType::Symlink, "d/link", "../../outside")
        .link(EntryType::Link, "hard", "d/file")
        .pax(&record("SCHILY.xattr.trusted.a", b""))
        .link(EntryType::Fifo, "pipe", "")
}

fn deltas() -> Vec<Seed> {
    let new = [b"new", &DELTA_FROM[1000..], &DELTA_FROM[..500]].concat();
    let sound = crate::layer::made_delta(&DELTA_FROM, &new);
    let piece = |start: u64, length: usize| {
        let frame = zstd::bulk::compress(&vec![0; length], 1).unwrap();
        let size = u32::try_from(frame.len()).unwrap();
        [&start.to_le_bytes(), &size.to_le_bytes()[..], &frame].concat()
    };
    let whole = |start| piece(start, 4 << 20);
    let begin = &sound[..16];
    let seed = |name, bytes: Vec<u8>| ("delta", name, bytes);
    vec![
        seed("cut", sound[..sound.len() - 1].to_vec()),
        seed(
            "pieces",
            [begin, &whole(0), &whole(9), &piece(u64::MAX, 5)].concat(),
        ),
        seed("back", [begin, &whole(9), &whole(8)].concat()),
        seed("bomb", [begin, &whole(0).repeat(9)].concat()),
        seed("short", [begin, &piece(0, 5), &piece(0, 5)].concat()),
        seed("long", [begin, &[0xff; 20]].concat()),
        seed("sound", sound),
    ]
}

#[test]
fn sound_delta_seed_is_valid() {
    let new = [b"new", &DELTA_FROM[1000..], &DELTA_FROM[..500]].concat();
    let delta = fs::read(dir("delta").join("sound")).unwrap();
    assert!(crate::layer::apply_delta(&DELTA_FROM, &delta, 1 << 20).unwrap() == new);
}

fn layers() -> Vec<Seed> {
    let plain = |name, stream: Stream| ("layer", name, [b"t", &stream.0[..]].concat());
    let packed = |name, stream: Stream| ("layer", name, [b"z", &stream.blob().0[..]].concat());
    let through = stream().link(EntryType::Symlink, "link", "..");
    vec![
        plain("everything", everything()),
        packed("everything-packed", everything()),
        packed("empty-packed", stream()),
        plain("parent", stream().file("../outside", b"x")),
        plain("absolute", stream().file("/outside", b"x")),
        plain(
            "record-path",
            stream().pax(&record("path", b"../outside")).file("a", b"x"),
        ),
        plain("through-link", through.clone().file("link/outside", b"x")),
        plain("hard-link", through.link(EntryType::Link, "hard", "link/outside")),
        plain("whiteouts", stream().file(".wh..", b"").file(".wh..wh..opq", b"")),
        plain("device", stream().link(EntryType::Char, "null", "1,3")),
        plain(
            "gnu",
            stream().entry(EntryType::GNULongName, "x", "", b"../outside\0"),
        ),
        plain("sparse", stream().link(EntryType::GNUSparse, "sparse", "")),
        plain("size", stream().pax(&record("size", b"9")).file("a", b"x")),
        plain("holes", stream().file("zeros", &[0; 9000])),
    ]
}

fn records() -> Vec<Seed> {
    let seed = |name, records: &[(&str, &[u8])]| {
        let records = records.iter().map(|(key, value)| record(key, value));
        ("pax", name, records.collect::<Vec<_>>().concat())
    };
    vec![
        seed("path", &[("path", b"../outside"), ("linkpath", b"a")]),
        seed("binary", &[("hdrcharset", b"BINARY"), ("path", b"\xff\xfe")]),
        seed("time", &[("mtime", b"-1.500000")]),
        seed("xattr", &[("SCHILY.xattr.user.a%3Db%25", b"\n9 a=b\n")]),
        seed("unknown", &[("size", b"9")]),
    ]
}

fn manifests() -> Vec<Seed> {
    let digest = |number: u8| format!("sha256:{number:064}").parse::<Digest>().unwrap();
    let layer = |title: &str, number| Layer {
        title: title.to_owned(),
        digest: digest(number),
        diff_id: digest(number + 10),
        size: 1,
        unpacked_size: 1024,
    };
    let config = include_bytes!("../../samples/config-v1.json");
    let reference = BlobRef {
        digest: Digest::of(config),
        size: config.len() as u64,
    };
    let listed = |layers: &[Layer]| to_json(&reference, layers, None);
    let both = listed(&[layer("os", 1), layer("machine/node01", 2)]);
    let seed = |name, manifest: &[u8], config: &[u8]| ("manifest", name, [manifest, b"\0", config].concat());
    let escape = br#"{"version":1,"\u001b[2J":1}"#;
    vec![
        seed("sound", &both, config),
        seed("no-layers", &listed(&[]), config),
        seed("twice", &listed(&[layer("os", 1), layer("os", 1)]), config),
        seed("newer", &both, br#"{"version":2}"#),
        seed("escape", &both, escape),
        seed("no-manifest", b"{}", config),
    ]
}

fn texts() -> Vec<Seed> {
    let seed = |name, text: &str| ("names", name, text.as_bytes().to_vec());
    let digest = Digest::of(b"");
    vec![
        seed("tag", "k8s-1.34"),
        seed("digest", digest.as_str()),
        seed("reference", "registry.example.org:5000/clusters/k8s-1.34:v5"),
        seed("pinned", &format!("localhost/k8s@{digest}")),
        seed("both", &format!("127.0.0.1/a/b:c@{digest}")),
        seed("path", "../../etc"),
        seed("escape", "\u{1b}[2J"),
    ]
}

/// Few names, so that entries collide, and names that lead elsewhere.
const NAMES: [&str; 11] = [
    "a",
    "b",
    "c",
    ".",
    "..",
    "",
    "...",
    ".wh.a",
    ".wh.b",
    ".wh..wh..opq",
    "outside",
];

const KINDS: [EntryType; 8] = [
    EntryType::Regular,
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Fifo,
    EntryType::Char,
];

fn path() -> impl Strategy<Value = String> {
    let names = || vec(select(&NAMES[..]), 1..4);
    prop_oneof![
        4 => select(&NAMES[..3]).prop_map(ToOwned::to_owned),
        2 => vec(select(&NAMES[..3]), 1..4).prop_map(|names| names.join("/")),
        2 => names().prop_map(|names| names.join("/")),
        1 => names().prop_map(|names| format!("/{}", names.join("/"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No sequence of entries touches anything outside, and an unpacked layer survives packing, unpacking and packing.
    #[test]
    fn any_entries(
        root in prop_oneof![9 => Just(true), 1 => Just(false)],
        entries in vec((select(&KINDS[..]), path(), path(), vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
    ) {
        let begin = if root { stream() } else { Stream::default() };
        let all = entries.into_iter().fold(begin, |stream, (kind, path, target, data, in_record)| {
            let is_file = kind == EntryType::Regular && !path.contains(".wh.");
            let target = match kind {
                EntryType::Symlink | EntryType::Link => &target[..],
                EntryType::Char => "1,3",
                _ => "",
            };
            let data = if is_file { &data[..] } else { b"" };
            if in_record {
                stream.pax(&record("path", path.as_bytes())).entry(kind, "a", target, data)
            } else {
                stream.entry(kind, &path, target, data)
            }
        });
        layer(&[b"t", &all.0[..]].concat());
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..2000)) {
        layer(&bytes);
        layer(&[b"z", &bytes[..]].concat());
        delta(&bytes);
        pax(&bytes);
        manifest(&bytes);
        names(&bytes);
    }
}
