use std::fs;
use std::os::unix::fs::MetadataExt;

use super::super::StoreError;
use super::{one, open, tag, tree};
use crate::layer::PackOptions;

#[test]
fn equal_layers_are_stored_once() {
    let (_temp, store) = open();
    let dir = tree("x");
    let first = store.add_layer("a", dir.path(), &PackOptions::default()).unwrap();
    let inode = || fs::metadata(store.blob_path(&first.digest)).unwrap().ino();
    let before = inode();
    let second = store.add_layer("b", dir.path(), &PackOptions::default()).unwrap();
    assert_eq!((first.digest.clone(), inode()), (second.digest, before));

    // Packing again repairs a corrupt blob.
    fs::write(store.blob_path(&first.digest), vec![0; first.size as usize]).unwrap();
    store.add_layer("a", dir.path(), &PackOptions::default()).unwrap();
    assert!(store.has_blob(&first.digest, first.size).unwrap());
    assert_eq!(fs::read_dir(store.dir().join("tmp")).unwrap().count(), 0);
}

#[test]
fn concurrent_threads_unpack_once() {
    let (_temp, store, artifact) = one();
    let layer = &artifact.layers[0];
    let paths: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| store.unpacked(layer).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    assert_eq!(
        paths[0].file_name().unwrap().to_str().unwrap(),
        &layer.digest.hex()[..32]
    );
    assert_eq!(fs::read_to_string(paths[0].join("file")).unwrap(), "base");
    assert_eq!(fs::read_dir(store.dir().join("unpacked")).unwrap().count(), 1);
}

#[test]
fn exact_directories_are_adopted() {
    let (_temp, store) = open();
    let work = tempfile::tempdir_in(store.dir()).unwrap();
    let dir = work.path().join("upper");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "x").unwrap();
    xattr::set(dir.join("file"), "trusted.overlay.origin", b"z").unwrap();
    let inode = fs::metadata(dir.join("file")).unwrap().ino();
    let modified = fs::metadata(&dir).unwrap().modified().unwrap();
    let layer = store.adopt_layer("a", &dir, &PackOptions::default()).unwrap();
    let adopted = store.unpacked_path(&layer.digest);
    assert_eq!(fs::metadata(adopted.join("file")).unwrap().ino(), inode);
    assert_eq!(fs::metadata(&adopted).unwrap().modified().unwrap(), modified);
    assert_eq!(xattr::list(adopted.join("file")).unwrap().count(), 0);
    assert!(!dir.exists());
    let repacked = store.add_layer("b", &adopted, &PackOptions::default()).unwrap();
    assert_eq!(repacked.digest, layer.digest);
}

#[test]
fn other_directories_are_unpacked() {
    let (_temp, store) = open();
    let dir = tree("x");
    let clamped = PackOptions {
        mtime_clamp: Some(7),
        ..PackOptions::default()
    };
    let layer = store.adopt_layer("a", dir.path(), &clamped).unwrap();
    assert_eq!(
        fs::metadata(store.unpacked_path(&layer.digest).join("file"))
            .unwrap()
            .mtime(),
        7
    );
    assert!(dir.path().join("file").exists());
}

#[test]
fn errors_of_damaged_layers_name_the_remedy() {
    let (_temp, store, artifact) = one();
    let layer = &artifact.layers[1];
    let path = store.blob_path(&layer.digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = store.unpacked(layer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer `machine/node01` cannot be unpacked; `parbake artifact remove one`, then provision or pull again"
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("the data is damaged"), "{source}");
    assert!(!store.unpacked_path(&layer.digest).exists());
    let leftovers = fs::read_dir(store.dir().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    assert!(
        leftovers
            .into_iter()
            .all(|path| path.extension().is_some_and(|ext| ext == "lock"))
    );

    fs::remove_file(store.blob_path(&artifact.layers[0].digest)).unwrap();
    let error = store.verify(&tag("one")).unwrap_err().to_string();
    for part in [
        "layer `os` is missing",
        "layer `machine/node01` is corrupt",
        "remove one`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(
        store.unpacked(&artifact.layers[0]).unwrap_err(),
        StoreError::MissingLayer { .. }
    ));
}
