use std::collections::BTreeSet;
use std::fs;

use super::super::{Removed, Store, StoreError};
use super::{add, draft, nothing_in_use, one, tag, tags};

#[test]
fn layers_of_others_and_clusters_stay() {
    let (_temp, mut store, artifact) = one();
    let own = add(&store, "machine/node01", "another");
    let other = store
        .put(&tag("two"), draft(&[artifact.layers[0].clone(), own]))
        .unwrap();
    for layer in artifact.layers.iter().chain(&other.layers) {
        store.unpacked(layer).unwrap();
    }
    let in_use = BTreeSet::from([other.layers[1].digest.clone()]);
    let removed = store.remove(&tags(&["two"]), || Ok::<_, StoreError>(in_use));
    assert!(matches!(removed, Ok(Removed::Freed(swept)) if (swept.blobs, swept.unpacked) == (2, 0)));
    assert!(store.unpacked_path(&other.layers[1].digest).is_dir());
    store.verify(&tag("one")).unwrap();
    assert_eq!(store.examine(&tags(&["one"])).unwrap().unpacked, 2);
}

#[test]
fn stores_in_use_are_swept_later() {
    let (_temp, mut store, artifact) = one();
    let other = Store::open(store.dir()).unwrap();
    let in_use = || -> Result<_, StoreError> { panic!("clusters may be started meanwhile") };
    let removed = store.remove(&tags(&["one"]), in_use).unwrap();
    assert!(matches!(removed, Removed::Later(StoreError::Busy { .. })));
    assert!(store.tags().unwrap().is_empty());
    assert!(store.blob_path(&artifact.digest).exists());
    drop(other);
    let swept = store.exclusive().unwrap().sweep(&BTreeSet::new()).unwrap();
    assert_eq!(swept.blobs, 4);
}

#[test]
fn damaged_artifacts_can_be_removed() {
    let (_temp, mut store, artifact) = one();
    store.put(&tag("two"), draft(&artifact.layers[..1])).unwrap();
    let two = store.get(&tag("two")).unwrap();
    for digest in [&artifact.digest, &two.digest] {
        fs::write(store.blob_path(digest), "{}").unwrap();
    }
    let removed = store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    let Removed::Later(why) = removed else {
        panic!("the files of `two` are unknown");
    };
    assert!(why.to_string().contains("`two` is damaged"), "{why}");
    let removed = store.remove(&tags(&["two"]), nothing_in_use).unwrap();
    assert!(
        matches!(removed, Removed::Freed(swept) if swept.blobs == 6),
        "{removed:?}"
    );
}
