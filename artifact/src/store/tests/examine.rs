use std::collections::BTreeSet;
use std::fs;

use super::super::{BlobProblem, Examination, ProblemKind, Store, StoreError};
use super::{draft, nothing_in_use, one, tag, tags};
use crate::layer::Layer;

fn problems(examined: &Examination) -> Vec<String> {
    examined.problems.iter().map(ToString::to_string).collect()
}

fn corrupt_tree(store: &Store, layer: &Layer) {
    fs::write(store.unpacked_path(&layer.digest).join("file"), "wrong").unwrap();
}

#[test]
fn intact_artifacts_have_no_problems() {
    let (_temp, store, artifact) = one();
    store.put(&tag("two"), draft(&artifact.layers[..1])).unwrap();
    store.unpacked(&artifact.layers[0]).unwrap();
    let examined = store.examine(&tags(&["one", "two"])).unwrap();
    assert_eq!((examined.blobs, examined.unpacked, examined.objects), (6, 1, 2));
    assert_eq!(problems(&examined), Vec::<String>::new());
    let on_disk = fs::read_dir(store.dir().join("blobs/sha256")).unwrap();
    let bytes: u64 = on_disk.map(|blob| blob.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(examined.bytes, bytes);
    assert!(matches!(
        store.examine(&tags(&["three"])),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn problems_name_layer_and_artifacts() {
    let (_temp, store, artifact) = one();
    store.put(&tag("two"), draft(&artifact.layers[..1])).unwrap();
    for layer in &artifact.layers {
        store.unpacked(layer).unwrap();
        corrupt_tree(&store, layer);
    }
    fs::remove_file(store.blob_path(&artifact.layers[1].digest)).unwrap();
    let examined = store.examine(&tags(&["one", "two"])).unwrap();
    let mut found = problems(&examined);
    found.sort();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], "layer `machine/node01` of `one` is missing");
    assert!(
        found[1].starts_with("unpacked layer `os` of `one`, `two`: `file` has 5 bytes instead of 4"),
        "{found:?}"
    );
    fs::write(store.blob_path(&artifact.digest), "{}").unwrap();
    let examined = store.examine(&tags(&["one"])).unwrap();
    assert!(matches!(examined.problems[0].kind, ProblemKind::Artifact(_)));
}

#[test]
fn repair_restores_blobs_and_unpacked_layers() {
    let (_temp, mut store, artifact) = one();
    let [os, machine] = &artifact.layers[..] else {
        panic!("two layers")
    };
    let all = tags(&["one"]);
    for layer in [os, machine] {
        store.unpacked(layer).unwrap();
    }
    corrupt_tree(&store, os);
    fs::write(store.blob_path(&machine.digest), vec![0; machine.size as usize]).unwrap();
    let examined = store.examine(&all).unwrap();
    assert_eq!(examined.problems.len(), 2);
    let left = store.repair(examined.problems, nothing_in_use).unwrap();
    assert!(left.is_empty(), "{left:?}");
    let examined = store.examine(&all).unwrap();
    assert_eq!((examined.blobs, examined.unpacked), (4, 2));
    assert!(examined.problems.is_empty());

    // With both corrupt, nothing can be restored.
    corrupt_tree(&store, machine);
    fs::remove_file(store.blob_path(&machine.digest)).unwrap();
    let examined = store.examine(&all).unwrap();
    let left = store.repair(examined.problems, nothing_in_use).unwrap();
    assert!(matches!(left[0].kind, ProblemKind::Blob(_, BlobProblem::Missing)));
    assert!(store.unpacked_path(&machine.digest).is_dir());
}

#[test]
fn repair_keeps_layers_of_clusters() {
    let (_temp, mut store, artifact) = one();
    let os = &artifact.layers[0];
    store.unpacked(os).unwrap();
    corrupt_tree(&store, os);
    let problems = store.examine(&tags(&["one"])).unwrap().problems;
    let in_use = BTreeSet::from([os.digest.clone()]);
    let left = store.repair(problems, || Ok::<_, StoreError>(in_use)).unwrap();
    assert_eq!(left.len(), 1);
    let file = store.unpacked_path(&os.digest).join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "wrong");
    let _other = Store::open(store.dir()).unwrap();
    let problems = store.examine(&tags(&["one"])).unwrap().problems;
    let error = store.repair(problems, nothing_in_use).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }));
}
