use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::{Removed, Store, StoreError};
use super::{draft, nothing_in_use, one, open, tag, tags};
use crate::digest::Digest;
use crate::layer::Layer;

#[test]
fn artifacts_are_created_read_listed_and_removed() {
    let (_temp, mut store, artifact) = one();
    assert_eq!(store.get(&tag("one")).unwrap(), artifact);
    let titles: Vec<_> = artifact
        .machine_layers("node01")
        .unwrap()
        .iter()
        .map(|layer| layer.title.as_str())
        .collect();
    assert_eq!(titles, ["os", "machine/node01"]);
    assert!(artifact.machine_layers("node02").is_none());
    let shared: Vec<_> = artifact
        .shared_layers()
        .iter()
        .map(|layer| layer.title.as_str())
        .collect();
    assert_eq!(shared, ["os"]);
    assert_eq!(
        artifact.size(),
        artifact.layers.iter().map(|layer| layer.size).sum::<u64>()
    );

    let again = store.put(&tag("two"), draft(&artifact.layers)).unwrap();
    assert_eq!(
        again.digest, artifact.digest,
        "equal artifacts have equal digests"
    );
    let listed: Vec<_> = store
        .list()
        .unwrap()
        .into_iter()
        .map(|listed| (listed.tag, listed.artifact.unwrap().tag))
        .collect();
    assert_eq!(listed, [(tag("one"), tag("one")), (tag("two"), tag("two"))]);

    let error = store.get(&tag("three")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no artifact `three` (there are `one`, `two`); `parbake provision three` makes it"
    );
    let mut remove = |names: &[&str]| store.remove(&tags(names), nothing_in_use);
    let error = remove(&["one", "three"]).unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { .. }),
        "all or none: {error}"
    );
    assert!(matches!(remove(&["one", "two"]), Ok(Removed::Freed(_))));
    let error = remove(&["two"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no artifact `two` (there are none); `parbake provision two` makes it"
    );
}

#[test]
fn directories_are_private() {
    let (_temp, store) = open();
    assert_eq!(
        fs::metadata(store.dir()).unwrap().permissions().mode() & 0o7777,
        0o700
    );
    assert_eq!(
        fs::metadata(store.dir().join("unpacked"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o700
    );
}

#[test]
fn other_layouts_are_rejected() {
    let (_temp, store) = open();
    let marker = store.dir().join("oci-layout");
    fs::write(&marker, r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    let error = Store::open(store.dir()).unwrap_err();
    assert!(matches!(error, StoreError::LayoutVersion { found, .. } if found == "2.0.0"));
    fs::write(&marker, "something else").unwrap();
    assert!(matches!(
        Store::open(store.dir()).unwrap_err(),
        StoreError::Layout { .. }
    ));
}

#[test]
fn inconsistent_artifacts_do_not_replace_the_old_one() {
    let (_temp, store, artifact) = one();
    let mut bad = draft(&artifact.layers);
    bad.machines.clear();
    assert!(matches!(
        store.put(&tag("one"), bad).unwrap_err(),
        StoreError::NewArtifact { .. }
    ));
    let absent = Layer {
        digest: Digest::of(b"absent"),
        ..artifact.layers[0].clone()
    };
    let error = store.put(&tag("one"), draft(&[absent])).unwrap_err();
    assert!(error.to_string().starts_with("layer `os` (sha256:"), "{error}");
    assert_eq!(store.get(&tag("one")).unwrap(), artifact);
}

#[test]
fn concurrent_writers_keep_all_tags() {
    let (_temp, store, artifact) = one();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (store, artifact) = (&store, &artifact);
            scope.spawn(move || {
                store
                    .put(&tag(&format!("t{number}")), draft(&artifact.layers))
                    .unwrap()
            });
        }
    });
    assert_eq!(store.tags().unwrap().len(), 9);
}

#[test]
fn verify_reads_every_blob() {
    let (_temp, store, artifact) = one();
    let verified = store.verify(&tag("one")).unwrap();
    let on_disk = fs::read_dir(store.dir().join("blobs/sha256"))
        .unwrap()
        .map(|blob| blob.unwrap());
    let bytes: u64 = on_disk.map(|blob| blob.metadata().unwrap().len()).sum();
    assert_eq!((verified.blobs, verified.bytes), (4, bytes));
    fs::write(store.blob_path(&artifact.digest), "{}").unwrap();
    assert!(
        store
            .verify(&tag("one"))
            .unwrap_err()
            .to_string()
            .contains("its manifest")
    );
    assert!(store.list().unwrap()[0].artifact.is_err());
}
