//! Tests of sweeping and of sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::{Store, StoreError, disk_usage};
use super::{add, one, tag};

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
    let swept = store.sweep(&keep).unwrap();
    assert_eq!((swept.blobs, swept.unpacked, swept.left_overs), (1, 1, 2));
    assert!(swept.bytes >= 10_000);
    assert_eq!(fs::read_dir(store.dir().join("tmp")).unwrap().count(), 0);
    assert!(!store.unpacked_path(&loose[0].digest).exists());
    assert!(store.unpacked_path(&loose[1].digest).exists());
    store.verify(&tag("one")).unwrap();

    store.remove(&tag("one")).unwrap();
    let swept = store.sweep(&BTreeSet::new()).unwrap();
    assert_eq!((swept.blobs, swept.unpacked), (5, 3));
}

#[test]
fn what_a_cluster_came_from_is_found_without_its_name() {
    let (_temp, mut store, artifact) = one();
    store.remove(&tag("one")).unwrap();
    let layers = artifact.layers.iter().map(|layer| layer.digest.clone());
    let keep = layers.chain([artifact.digest.clone()]).collect();
    let swept = store.sweep(&keep).unwrap();
    assert_eq!(swept.blobs, 0);
    let found = store.get_exactly(&tag("one"), &artifact.digest).unwrap();
    assert_eq!(found, artifact);
    store.sweep(&BTreeSet::new()).unwrap();
    let error = store.get_exactly(&tag("one"), &artifact.digest).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }));
}

#[test]
fn sweeps_only_alone() {
    let (_temp, mut store, _) = one();
    let other = Store::open(store.dir()).unwrap();
    assert!(matches!(
        store.sweep(&BTreeSet::new()).unwrap_err(),
        StoreError::Busy { .. }
    ));
    // The failed attempt still counts as a user.
    let mut other = other;
    assert!(matches!(
        other.sweep(&BTreeSet::new()).unwrap_err(),
        StoreError::Busy { .. }
    ));
    drop(other);
    store.sweep(&BTreeSet::new()).unwrap();
    Store::open(store.dir()).unwrap();
}

#[test]
fn does_not_sweep_what_it_cannot_judge() {
    let (_temp, mut store, artifact) = one();
    fs::remove_file(store.blob_path(&artifact.digest)).unwrap();
    assert!(store.sweep(&BTreeSet::new()).is_err());
    assert!(
        store
            .has_blob(&artifact.layers[0].digest, artifact.layers[0].size)
            .unwrap()
    );
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
