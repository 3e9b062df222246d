//! These tests need root, since the trees have owners and devices.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::{Mismatch, MismatchKind, verify};
use crate::digest::Digest;
use crate::layer::{Layer, PackOptions, UnpackError, pack, unpack};

/// A tree with one of each kind, packed and unpacked.
fn unpacked() -> (TempDir, Vec<u8>, Layer) {
    let (source, unpacked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| source.path().join(name);
    fs::create_dir_all(at("dir/below")).unwrap();
    fs::write(at("dir/below/deep"), "deep").unwrap();
    fs::write(at("dir/file"), vec![7; 600_000]).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::hard_link(at("dir/file"), at("name")).unwrap();
    symlink("dir/file", at("link")).unwrap();
    node(&at("gone"), FileType::CharacterDevice, 0);
    node(&at("pipe"), FileType::Fifo, 0);
    fs::create_dir(at("opaque")).unwrap();
    xattr::set(at("opaque"), "trusted.overlay.opaque", b"y").unwrap();
    xattr::set(at("empty"), "user.a", b"1").unwrap();
    let (blob, packed) = pack(source.path(), Vec::new(), &PackOptions::default()).unwrap();
    let layer = packed.layer("tree");
    unpack(&blob[..], &layer, unpacked.path()).unwrap();
    (unpacked, blob, layer)
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
}

/// The mismatches after `damage` as text, without the modification times that it changes.
fn found(damage: impl Fn(&Path)) -> Vec<String> {
    let (dir, blob, layer) = unpacked();
    damage(dir.path());
    let verification = verify(&blob[..], &layer, dir.path()).unwrap();
    verification
        .mismatches
        .iter()
        .filter(|difference| difference.kind != MismatchKind::Time)
        .map(|Mismatch { path, kind }| format!("{} {kind}", path.display()))
        .collect()
}

#[test]
fn unpacked_layers_have_no_mismatches() {
    let (dir, blob, layer) = unpacked();
    let verification = verify(&blob[..], &layer, dir.path()).unwrap();
    assert_eq!((verification.objects, verification.mismatches), (11, vec![]));
    // Attributes of overlay and of the host are ignored.
    xattr::set(dir.path().join("empty"), "trusted.overlay.origin", b"z").unwrap();
    assert_eq!(found(|_| {}), Vec::<String>::new());
}

#[test]
fn all_kinds_of_mismatches_are_found() {
    type Case = (fn(&Path), &'static [&'static str]);
    let cases: [Case; 18] = [
        (
            |dir| {
                let file = fs::File::options().write(true).open(dir.join("dir/file"));
                file.unwrap().write_all_at(b"x", 599_999).unwrap();
            },
            &["dir/file has different content"],
        ),
        (
            |dir| fs::write(dir.join("dir/file"), "short").unwrap(),
            &["dir/file has 5 bytes instead of 600000"],
        ),
        (
            |dir| fs::remove_file(dir.join("empty")).unwrap(),
            &["empty is missing"],
        ),
        (
            |dir| fs::remove_dir_all(dir.join("dir")).unwrap(),
            // The first name of a file has its data. The content of a missing directory is not listed.
            &["dir is missing", "name is not a hard link to `dir/file`"],
        ),
        (
            |dir| {
                fs::create_dir(dir.join("more")).unwrap();
                fs::write(dir.join("more/file"), "").unwrap();
            },
            &["more is not in the layer"],
        ),
        (
            |dir| fs::write(dir.join("dir/below/more"), "").unwrap(),
            &["dir/below/more is not in the layer"],
        ),
        (
            |dir| fs::set_permissions(dir.join("empty"), Permissions::from_mode(0o4755)).unwrap(),
            &["empty has mode 4755 instead of 644"],
        ),
        (
            |dir| fs::set_permissions(dir.join("dir/below"), Permissions::from_mode(0o700)).unwrap(),
            &["dir/below has mode 700 instead of 755"],
        ),
        (
            |dir| std::os::unix::fs::lchown(dir.join("link"), Some(7), None).unwrap(),
            &["link belongs to 7:0 instead of 0:0"],
        ),
        (
            |dir| xattr::set(dir.join("empty"), "user.a", b"2").unwrap(),
            &["empty has other extended attributes"],
        ),
        (
            |dir| xattr::set(dir.join("dir"), "security.capability", &capability()).unwrap(),
            &["dir has other extended attributes"],
        ),
        (
            |dir| xattr::set(dir.join("dir"), "trusted.overlay.redirect", b"/etc").unwrap(),
            &["dir has other extended attributes"],
        ),
        (
            |dir| xattr::remove(dir.join("opaque"), "trusted.overlay.opaque").unwrap(),
            &["opaque has other extended attributes"],
        ),
        (
            |dir| xattr::set(dir.join("dir"), "trusted.overlay.opaque", b"y").unwrap(),
            &["dir has other extended attributes"],
        ),
        (
            |dir| replace(&dir.join("link"), |path| symlink("empty", path).unwrap()),
            &["link has another link target"],
        ),
        (
            |dir| replace(&dir.join("gone"), |path| fs::write(path, "").unwrap()),
            &["gone has another type"],
        ),
        (
            |dir| replace(&dir.join("pipe"), |path| fs::write(path, "").unwrap()),
            &["pipe has another type"],
        ),
        (
            |dir| {
                let name = dir.join("name");
                fs::copy(&name, dir.join("copy")).unwrap();
                fs::rename(dir.join("copy"), name).unwrap();
            },
            &["name is not a hard link to `dir/file`"],
        ),
    ];
    for (number, (damage, expected)) in cases.into_iter().enumerate() {
        assert_eq!(found(damage), expected, "case {number}");
    }
}

/// A valid capability attribute; directories accept it, too.
fn capability() -> [u8; 20] {
    let mut value = [0; 20];
    value[3] = 2;
    value
}

fn replace(path: &Path, make: impl Fn(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

#[test]
fn modification_times_are_compared() {
    let (dir, blob, layer) = unpacked();
    let file = fs::File::options().write(true).open(dir.path().join("dir/file"));
    let before = SystemTime::now() - Duration::from_secs(1000);
    file.unwrap().set_modified(before).unwrap();
    let verification = verify(&blob[..], &layer, dir.path()).unwrap();
    let difference = Mismatch {
        path: "dir/file".into(),
        kind: MismatchKind::Time,
    };
    assert_eq!(verification.mismatches, [difference]);
}

#[test]
fn corrupt_blobs_are_an_error() {
    let (dir, mut blob, layer) = unpacked();
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    let error = verify(&blob[..], &layer, dir.path()).unwrap_err();
    assert!(
        matches!(error, UnpackError::Damaged { found, .. } if found == Digest::of(&blob)),
        "not damaged"
    );
}
