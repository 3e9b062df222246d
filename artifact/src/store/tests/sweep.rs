use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{Removed, Store, StoreError, disk_usage};
use super::{add, nothing_in_use, one, tag, tags};

#[test]
fn sweep_removes_unneeded_files() {
    let (_temp, mut store, artifact) = one();
    let loose = [add(&store, "loose", "loose"), add(&store, "kept", "kept")];
    for layer in artifact.layers.iter().chain(&loose) {
        store.unpacked(layer).unwrap();
    }
    // Leftovers of processes that were killed while unpacking or writing.
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
fn artifacts_of_clusters_are_found_without_their_tag() {
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
fn sweep_needs_exclusive_access() {
    let (_temp, mut store, _) = one();
    let mut other = Store::open(store.dir()).unwrap();
    assert!(matches!(store.exclusive().unwrap_err(), StoreError::Busy { .. }));
    // The failed attempt keeps its shared lock.
    assert!(matches!(other.exclusive().unwrap_err(), StoreError::Busy { .. }));
    drop(other);
    let dir = store.dir().to_owned();
    let exclusive = store.exclusive().unwrap();
    let opened = std::thread::scope(|scope| {
        let other = scope.spawn(|| Store::open(&dir).map(|_| Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        let before = Instant::now();
        drop(exclusive);
        (before, other.join().unwrap().unwrap())
    });
    assert!(opened.0 <= opened.1, "opening the store waits");
    Store::open(store.dir()).unwrap();
}

#[test]
fn sweep_removes_nothing_if_a_manifest_is_missing() {
    let (_temp, mut store, artifact) = one();
    fs::remove_file(store.blob_path(&artifact.digest)).unwrap();
    assert!(store.exclusive().unwrap().sweep(&BTreeSet::new()).is_err());
    let layer = &artifact.layers[0];
    assert!(store.has_blob(&layer.digest, layer.size).unwrap());
}

/// A sweep that is killed while it removes a directory must not leave an incomplete one.
#[test]
fn directories_are_renamed_before_removal() {
    let (_temp, mut store, artifact) = one();
    let layer = &artifact.layers[0];
    let unpacked = store.unpacked(layer).unwrap();
    // Left by a sweep that was killed.
    let name = unpacked.file_name().unwrap().to_str().unwrap();
    let renamed = store.dir().join("tmp").join(format!("remove-{name}"));
    fs::create_dir_all(renamed.join("half/removed")).unwrap();
    store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    assert!(!unpacked.exists() && !renamed.exists());
}

#[test]
fn disk_usage_counts_blocks_and_links_once() {
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
