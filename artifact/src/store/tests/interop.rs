use std::fs;
use std::io::Write;
use std::process::Command;

use oci_spec::image::ImageConfiguration;
use serde_json::Value;

use super::super::{Store, StoreError};
use super::{one, open, tag};
use crate::digest::Digest;
use crate::manifest::canonical_json;

#[test]
fn artifacts_of_other_stores_are_imported() {
    let (_source_temp, source, artifact) = one();
    let (_temp, store) = open();
    let (_, manifest) = source.manifest_bytes(&tag("one")).unwrap();
    assert!(
        store.import(&tag("copy"), &manifest, None).is_err(),
        "its blobs are missing"
    );
    assert!(store.tags().unwrap().is_empty());

    for blob in fs::read_dir(source.dir().join("blobs/sha256")).unwrap() {
        let bytes = fs::read(blob.unwrap().path()).unwrap();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let mut writer = store.blob_writer(&digest, size).unwrap();
        writer.write_all(&bytes[1..]).unwrap();
        assert!(matches!(
            writer.finish().unwrap_err(),
            StoreError::WrongBlob { .. }
        ));
        assert!(!store.has_blob(&digest, size).unwrap());
        let mut writer = store.blob_writer(&digest, size).unwrap();
        writer.write_all(&bytes).unwrap();
        writer.finish().unwrap();
        assert!(store.has_blob(&digest, size).unwrap());
    }
    let copy = store.import(&tag("copy"), &manifest, None).unwrap();
    assert_eq!(copy.digest, artifact.digest);
    store.verify(&tag("copy")).unwrap();
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// `--raw`, since `skopeo inspect` without it rejects configs of other media types than images have.
#[test]
fn skopeo_reads_the_store() {
    let (temp, store, artifact) = one();
    let reference = format!("oci:{}:one", store.dir().display());
    assert_eq!(
        Digest::of(&skopeo(&["inspect", "--raw", &reference])),
        artifact.digest
    );
    let config: Value =
        serde_json::from_slice(&skopeo(&["inspect", "--raw", "--config", &reference])).unwrap();
    assert_eq!(config, serde_json::to_value(&artifact.config).unwrap());

    // skopeo verifies digests while it copies.
    let copy = temp.path().join("copy");
    skopeo(&["copy", &reference, &format!("oci:{}:one", copy.display())]);
    assert_eq!(Store::open(&copy).unwrap().get(&tag("one")).unwrap(), artifact);
}

#[test]
fn config_is_a_valid_image_config() {
    let (_temp, store, artifact) = one();
    let bytes = fs::read(store.blob_path(&Digest::of(&canonical_json(&artifact.config)))).unwrap();
    let image: ImageConfiguration = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(image.created().as_deref(), Some("2026-01-31T12:00:00Z"));
    assert_eq!(image.rootfs().diff_ids()[0], artifact.layers[0].diff_id.as_str());
}
