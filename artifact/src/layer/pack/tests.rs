//! These tests need root, since they create devices and change owners.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{PackError, PackOptions, Packed, pack, pack_with};

fn packed(dir: &Path, options: &PackOptions) -> (Vec<u8>, Packed) {
    pack(dir, Vec::new(), options).unwrap()
}

/// The names in the archive, hard links with their targets.
fn names(blob: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(blob).unwrap());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let link = entry
                .header()
                .entry_type()
                .is_hard_link()
                .then(|| entry.link_name_bytes().unwrap());
            let target = link.map(|name| format!(" = {}", String::from_utf8_lossy(&name)));
            format!(
                "{}{}",
                String::from_utf8_lossy(&entry.path_bytes()),
                target.unwrap_or_default()
            )
        })
        .collect()
}

fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

#[test]
fn entries_are_sorted_and_deletions_come_first() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir(dir.join("b")).unwrap();
    xattr::set(dir.join("b"), "trusted.overlay.opaque", b"y").unwrap();
    fs::write(dir.join("b/first"), "x").unwrap();
    fs::hard_link(dir.join("b/first"), dir.join("c")).unwrap();
    fs::write(dir.join("a"), "").unwrap();
    whiteout(&dir.join("z"));
    whiteout(&dir.join("b/gone"));
    let (blob, _) = packed(dir, &PackOptions::default());
    assert_eq!(
        names(&blob),
        [
            "./",
            ".wh.z",
            "a",
            "b/",
            "b/.wh..wh..opq",
            "b/.wh.gone",
            "b/first",
            "c = b/first"
        ]
    );
}

#[test]
fn equal_trees_give_equal_bytes() {
    let make = |names: [&str; 3]| {
        let temp = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(temp.path().join(name), name).unwrap();
            // More than one compression job.
            fs::write(temp.path().join(name), vec![name.as_bytes()[0]; 3 << 20]).unwrap();
            let file = fs::File::open(temp.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        fs::File::open(temp.path())
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        packed(temp.path(), &PackOptions::default())
    };
    assert_eq!(make(["a", "b", "c"]), make(["c", "b", "a"]));
}

#[test]
fn any_number_of_workers_gives_equal_bytes() {
    let temp = tempfile::tempdir().unwrap();
    // Enough for several compression jobs, and neither noise nor zeros.
    let words: Vec<u8> = (0u64..3_000_000)
        .flat_map(|number| (number * number % 10_007).to_le_bytes())
        .collect();
    fs::write(temp.path().join("words"), words).unwrap();
    let digest = |workers| {
        pack_with(temp.path(), Vec::new(), &PackOptions::default(), workers)
            .unwrap()
            .1
            .digest
    };
    let one = digest(1);
    assert_eq!([digest(2), digest(5)], [one.clone(), one]);
}

#[test]
fn digests_and_sizes_are_those_of_the_streams() {
    let temp = tempfile::tempdir().unwrap();
    let (blob, packed) = packed(temp.path(), &PackOptions::default());
    let mut plain = Vec::new();
    zstd::Decoder::new(&blob[..])
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(packed.digest, crate::Digest::of(&blob));
    assert_eq!(packed.diff_id, crate::Digest::of(&plain));
    assert_eq!(
        (packed.size, packed.unpacked_size),
        (blob.len() as u64, plain.len() as u64)
    );
    assert!(packed.exact);
}

#[test]
fn options_clamp_times_and_exclude_subtrees() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir_all(dir.join("var/cache/deep")).unwrap();
    fs::create_dir_all(dir.join("var/cached")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000);
    fs::write(dir.join("old"), "").unwrap();
    fs::File::open(dir.join("old"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let options = PackOptions {
        mtime_clamp: Some(1000),
        exclude: vec![PathBuf::from("var/cache/")],
    };
    let (blob, clamped) = packed(dir, &options);
    assert!(!clamped.exact);
    assert_eq!(names(&blob), ["./", "old", "var/", "var/cached/"]);
    let mut archive = tar::Archive::new(zstd::Decoder::new(&blob[..]).unwrap());
    let times = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().header().mtime().unwrap());
    assert_eq!(times.collect::<Vec<_>>(), [1000, 1, 1000, 1000]);

    let late = PackOptions {
        mtime_clamp: Some(i64::MAX),
        exclude: vec![PathBuf::from("absent")],
    };
    assert!(packed(dir, &late).1.exact);
}

#[test]
fn sockets_and_devices_are_left_out() {
    let temp = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(temp.path().join("socket")).unwrap();
    for (name, kind) in [
        ("null", FileType::CharacterDevice),
        ("disk", FileType::BlockDevice),
    ] {
        mknodat(CWD, temp.path().join(name), kind, Mode::RUSR, makedev(1, 3)).unwrap();
    }
    let (blob, packed) = packed(temp.path(), &PackOptions::default());
    assert_eq!(names(&blob), ["./"]);
    assert!(!packed.exact);
}

#[test]
fn unsupported_objects_are_rejected() {
    let temp = tempfile::tempdir().unwrap();
    let refused = |name: &str| {
        let error = pack(&temp.path().join(name), Vec::new(), &PackOptions::default())
            .err()
            .unwrap();
        (error.to_string(), error)
    };
    fs::create_dir_all(temp.path().join("reserved/.wh.x")).unwrap();
    let (text, error) = refused("reserved");
    assert!(
        matches!(error, PackError::ReservedName { .. }) && text.contains("reserved/.wh.x`"),
        "{text}"
    );

    fs::create_dir(temp.path().join("redirect")).unwrap();
    xattr::set(temp.path().join("redirect"), "trusted.overlay.redirect", b"/etc").unwrap();
    let (text, _) = refused("redirect");
    assert!(
        text.contains("`trusted.overlay.redirect`") && text.contains("redirect_dir=off"),
        "{text}"
    );

    let mut deep = temp.path().join("deep");
    (0..257).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    let (text, error) = refused("deep");
    assert!(
        matches!(error, PackError::Path { .. }) && text.contains("d/d`"),
        "{text}"
    );

    let (text, error) = refused("absent");
    assert!(
        matches!(error, PackError::Read { .. }) && text.contains("absent`"),
        "{text}"
    );
}

#[test]
fn gnu_tar_reads_layers() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("tree");
    let long = "long".repeat(50);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(&long), "content").unwrap();
    fs::set_permissions(dir.join(&long), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink(&long, dir.join("link")).unwrap();
    mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    xattr::set(dir.join(&long), "user.a=b%c", b"line\nfeed").unwrap();

    let tarball = temp.path().join("layer.tar");
    let (blob, _) = packed(&dir, &PackOptions::default());
    zstd::stream::copy_decode(&blob[..], fs::File::create(&tarball).unwrap()).unwrap();
    let out = temp.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.args(["--extract", "--xattrs", "--xattrs-include=*", "--file"])
        .arg(&tarball);
    let output = tar.arg("--directory").arg(&out).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        packed(&out, &PackOptions::default()).1,
        packed(&dir, &PackOptions::default()).1
    );
}
