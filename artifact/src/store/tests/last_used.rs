use std::collections::BTreeSet;
use std::fs;

use jiff::Timestamp;

use super::{draft, nothing_in_use, one, tag, tags};

#[test]
fn creating_and_starting_update_the_time_of_use() {
    let (_temp, mut store, artifact) = one();
    let used = store.dir().join("used/one");
    let old = "2020-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let age = || {
        let file = fs::File::options().write(true).open(&used).unwrap();
        file.set_modified(old.into()).unwrap();
    };
    let last_used = || store.last_used(&tag("one")).unwrap().unwrap();
    assert!(last_used() > old);
    age();
    assert_eq!(last_used(), old);
    store.mark_used(&tag("one")).unwrap();
    assert!(last_used() > old);
    age();
    store.put(&tag("one"), draft(&artifact.layers)).unwrap();
    assert!(last_used() > old);

    // Older versions have no file: the time when the artifact was stored counts.
    fs::remove_file(&used).unwrap();
    assert!(last_used() > old);
    store.mark_used(&tag("one")).unwrap();
    let candidates = store.candidates(|digest| *digest == artifact.digest).unwrap();
    assert_eq!(candidates.len(), 1);
    assert!(candidates[0].in_use && candidates[0].last_used == last_used());
    store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    assert!(!used.exists());
}

#[test]
fn inventory_predicts_freed_bytes() {
    let (_temp, mut store, artifact) = one();
    for layer in &artifact.layers {
        store.unpacked(layer).unwrap();
    }
    fs::write(store.dir().join("tmp/blob-killed"), vec![1; 10_000]).unwrap();
    let inventory = store.inventory().unwrap();
    assert_eq!((inventory.blobs().count, inventory.unpacked().count), (4, 2));
    assert_eq!(inventory.leftovers().count, 1);
    let share = inventory.share(&tag("one"));
    assert_eq!(share.bytes, inventory.blobs().bytes + inventory.unpacked().bytes);
    assert_eq!((share.own, share.shared_with), (share.bytes, vec![]));
    let predicted = inventory.freed_by(&tags(&["one"]), &BTreeSet::new());
    let exclusive = store.exclusive().unwrap();
    let super::super::Removed::Freed(swept) = exclusive.remove(&tags(&["one"]), &BTreeSet::new()).unwrap()
    else {
        panic!("the store is not in use elsewhere");
    };
    assert_eq!(predicted.bytes, swept.bytes);
    assert_eq!(predicted.count, swept.blobs + swept.unpacked + swept.leftovers);
}
