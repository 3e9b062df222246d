//! Tests of sweeping and of sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{Removed, Store, StoreError, disk_usage};
use super::{add, nothing_in_use, one, tag, tags};

#[test]
fn sweeps_what_nobody_needs() {
    let (_temp, mut store, artifact) = one();
    let loose = [add(&store, "loose", "loose"), add(&store, "kept", "kept")];
    for layer in artifact.layers.iter().chain(&loose) {
        store.unpacked(layer).unwrap();
    }
    // What a process killed while unpacking, packing or pulling leaves.
    fs::create_dir_all(store.dir().join("tmp/unpack-killed/half/made")).unwrap();
    fs::write(store.dir().join("tmp/blob-killed"), vec![1; 10_000]).unwrap();

    let keep = BTreeSet::from([loose[1].digest.clone()]);
    let swept = store.exclusive().unwrap().sweep(&keep).unwrap();
    assert_eq!((swept.blobs, swept.unpacked, swept.leftovers), (1, 1, 2));
    assert!(swept.bytes >= 10_000);
    assert_eq!(fs::read_dir(store.dir().join("tmp")).unwrap().count(), 0);
    assert!(!store.unpacked_path(&loose[0].digest).exists());
    assert!(store.unpacked_path(&loose[1].digest).exists());
    store.verify(&tag("one")).unwrap();

    let removed = store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    assert!(matches!(removed, Removed::Freed(swept) if (swept.blobs, swept.unpacked) == (5, 3)));
}

#[test]
fn what_a_cluster_came_from_is_found_without_its_name() {
    let (_temp, mut store, artifact) = one();
    let layers = artifact.layers.iter().map(|layer| layer.digest.clone());
    let keep = layers.chain([artifact.digest.clone()]).collect();
    store
        .remove(&tags(&["one"]), || Ok::<_, StoreError>(keep))
        .unwrap();
    let found = store.get_by_digest(&tag("one"), &artifact.digest).unwrap();
    assert_eq!(found, artifact);
    store.exclusive().unwrap().sweep(&BTreeSet::new()).unwrap();
    let error = store.get_by_digest(&tag("one"), &artifact.digest).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }));
}

#[test]
fn sweeps_only_alone() {
    let (_temp, mut store, _) = one();
    let mut other = Store::open(store.dir()).unwrap();
    assert!(matches!(store.exclusive().unwrap_err(), StoreError::Busy { .. }));
    // The failed attempt still counts as a user.
    assert!(matches!(other.exclusive().unwrap_err(), StoreError::Busy { .. }));
    drop(other);
    let dir = store.dir().to_owned();
    let alone = store.exclusive().unwrap();
    let opened = std::thread::scope(|scope| {
        let other = scope.spawn(|| Store::open(&dir).map(|_| Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        let before = Instant::now();
        drop(alone);
        (before, other.join().unwrap().unwrap())
    });
    assert!(opened.0 <= opened.1, "who opens it waits");
    Store::open(store.dir()).unwrap();
}

#[test]
fn does_not_sweep_what_it_cannot_judge() {
    let (_temp, mut store, artifact) = one();
    fs::remove_file(store.blob_path(&artifact.digest)).unwrap();
    assert!(store.exclusive().unwrap().sweep(&BTreeSet::new()).is_err());
    let layer = &artifact.layers[0];
    assert!(store.has_blob(&layer.digest, layer.size).unwrap());
}

/// A sweep that is killed while it removes a directory must not leave half of it under its name.
#[test]
fn what_is_removed_loses_its_name_first() {
    let (_temp, mut store, artifact) = one();
    let layer = &artifact.layers[0];
    let unpacked = store.unpacked(layer).unwrap();
    // As an earlier sweep left it that was killed here.
    let name = unpacked.file_name().unwrap().to_str().unwrap();
    let nameless = store.dir().join("tmp").join(format!("remove-{name}"));
    fs::create_dir_all(nameless.join("half/removed")).unwrap();
    store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    assert!(!unpacked.exists() && !nameless.exists());
}

#[test]
fn usage_counts_blocks_and_links_once() {
    let temp = tempfile::tempdir().unwrap();
    let usage = |path: &Path| disk_usage(path).unwrap();
    let empty = usage(temp.path());
    fs::write(temp.path().join("a"), vec![1; 1 << 20]).unwrap();
    let full = usage(temp.path());
    assert!(full >= empty + (1 << 20));
    fs::hard_link(temp.path().join("a"), temp.path().join("b")).unwrap();
    fs::File::create(temp.path().join("hole"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    assert_eq!(usage(temp.path()), full);
}
