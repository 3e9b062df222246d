//! A full disk gives one error, and existing artifacts stay intact. Needs root, for a small ext4 file system.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

mod draft;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use parbake_artifact::{Digest, PackOptions, Removed, Store, StoreError, Tag};

use draft::draft;

/// Set in the process that runs on the small disk, to its mount point.
const DISK: &str = "PARBAKE_TEST_DISK";
const TEST: &str = "full_disk_keeps_artifacts_intact";
/// Creates and mounts the disk in a mount namespace that ends with the test.
const SCRIPT: &str = "set -e; truncate -s 32M \"$1/image\"; mkfs.ext4 -q -m 0 \"$1/image\"; mkdir \"$1/disk\"
    mount -o loop \"$1/image\" \"$1/disk\"; PARBAKE_TEST_DISK=$1/disk exec \"$2\" --exact \"$3\"";

#[test]
fn full_disk_keeps_artifacts_intact() {
    if let Some(disk) = std::env::var_os(DISK) {
        return on_the_disk(Path::new(&disk));
    }
    let temp = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(temp.path())
        .arg(std::env::current_exe().unwrap())
        .arg(TEST)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{output:?}"
    );
}

fn on_the_disk(disk: &Path) {
    let outside = tempfile::tempdir().unwrap();
    let source = |name: &str, bytes: usize| {
        let dir = outside.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), noise(bytes)).unwrap();
        dir
    };
    let mut store = Store::open(&disk.join("store")).unwrap();
    let add = |store: &Store, dir: &Path| {
        let title = dir.file_name().unwrap().to_string_lossy();
        store.add_layer(&title, dir, &PackOptions::default())
    };
    let os = add(&store, &source("os", 2 << 20)).unwrap();
    let packed_only = add(&store, &source("packed", 3 << 20)).unwrap();
    let one: Tag = "one".parse().unwrap();
    let two: Tag = "two".parse().unwrap();
    store
        .put(&one, draft(&[os.clone(), packed_only.clone()]))
        .unwrap();
    store.unpacked(&os).unwrap();
    let (_, manifest) = store.manifest_bytes(&one).unwrap();
    let large = source("large", 4 << 20);

    for room in [0, 4096, 1 << 20] {
        let filler = fill(disk, room);
        assert_full(add(&store, &large));
        assert_full(store.unpacked(&packed_only));
        if room == 0 {
            assert_full(store.put(&two, draft(std::slice::from_ref(&os))));
            assert_full(store.import(&two, &manifest, None));
        }
        assert_eq!(store.tags().unwrap(), std::slice::from_ref(&one));
        assert_intact(&store, 1);
        let left = fs::read_dir(store.dir().join("tmp")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert!(
            left.iter()
                .all(|path| path.extension().is_some_and(|extension| extension == "lock")),
            "{left:?}"
        );
        fs::remove_file(filler).unwrap();
    }
    store.unpacked(&packed_only).unwrap();
    assert_intact(&store, 2);

    // A read-only disk can be inspected.
    let read_only = outside.path().join("read-only");
    fs::create_dir(&read_only).unwrap();
    for options in ["bind", "remount,bind,ro"] {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", options]).args([disk, &read_only]).status();
        assert!(status.unwrap().success());
    }
    assert_intact(&Store::open(&read_only.join("store")).unwrap(), 2);
    let status = Command::new("umount").arg(&read_only).status();
    assert!(status.unwrap().success());

    // Layers of clusters stay; without clusters, unpacked layers make room.
    let filler = fill(disk, 0);
    let all = || Ok::<_, StoreError>(BTreeSet::from([os.digest.clone(), packed_only.digest.clone()]));
    assert_full(store.remove(std::slice::from_ref(&one), all));
    assert_intact(&store, 2);
    let removed = store.remove(&[one], || Ok::<BTreeSet<Digest>, StoreError>(BTreeSet::new()));
    assert!(matches!(removed, Ok(Removed::Freed(_))), "{removed:?}");
    assert!(store.tags().unwrap().is_empty());
    fs::remove_file(filler).unwrap();
}

/// Checks that all artifacts are intact, and the number of their unpacked layers.
fn assert_intact(store: &Store, unpacked: usize) {
    let examined = store.examine(&store.tags().unwrap()).unwrap();
    assert!(examined.problems.is_empty(), "{:?}", examined.problems);
    assert_eq!(examined.unpacked, unpacked);
}

#[track_caller]
fn assert_full<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    let error = outcome.expect_err("the disk is full");
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(this) = cause {
        let kind = this.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::StorageFull) {
            return;
        }
        cause = this.source();
    }
    panic!("{error:?}");
}

/// Fills the disk up to about `room` bytes.
fn fill(disk: &Path, room: u64) -> std::path::PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let mut chunk = 1 << 20;
    while chunk > 0 {
        match file.write_all(&vec![1; chunk]).and_then(|()| file.sync_data()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => chunk /= 4,
            Err(error) => panic!("{error}"),
        }
    }
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(room)).unwrap();
    file.sync_all().unwrap();
    path
}

/// Incompressible bytes.
fn noise(length: usize) -> Vec<u8> {
    // Xorshift (Marsaglia, "Xorshift RNGs", 2003).
    let mut state: u64 = length as u64 * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}
