//! These tests need root, since layers have files of other users.

mod artifacts;
mod examine;
mod interop;
mod last_used;
mod layers;
mod origin;
mod partial;
mod referrers;
mod remove;
mod sweep;

use std::collections::BTreeSet;
use std::fs;

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use super::{Artifact, NewArtifact, Store, StoreError};
use crate::config::MachineLayers;
use crate::digest::Digest;
use crate::layer::{Layer, PackOptions};
use crate::tag::Tag;

pub(super) fn open() -> (TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&temp.path().join("state/store")).unwrap();
    (temp, store)
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(super) fn tags(names: &[&str]) -> Vec<Tag> {
    names.iter().map(|name| tag(name)).collect()
}

pub(super) fn nothing_in_use() -> Result<BTreeSet<Digest>, StoreError> {
    Ok(BTreeSet::new())
}

/// A tree with one file.
pub(super) fn tree(content: &str) -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), content).unwrap();
    temp
}

pub(super) fn add(store: &Store, title: &str, content: &str) -> Layer {
    store
        .add_layer(title, tree(content).path(), &PackOptions::default())
        .unwrap()
}

pub(super) fn draft(layers: &[Layer]) -> NewArtifact {
    let digests = layers.iter().map(|layer| layer.digest.clone()).collect();
    NewArtifact {
        created: "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap(),
        provider: "k8s-1.34".to_owned(),
        machines: vec![MachineLayers {
            name: "node01".to_owned(),
            layers: digests,
        }],
        cluster: json!({"b": 1, "a": [2]}),
        layers: layers.to_vec(),
        secrets: Some(2),
    }
}

/// A store with one artifact, `one`, of two layers.
pub(super) fn one() -> (TempDir, Store, Artifact) {
    let (temp, store) = open();
    let layers = [add(&store, "os", "base"), add(&store, "machine/node01", "own")];
    let artifact = store.put(&tag("one"), draft(&layers)).unwrap();
    (temp, store, artifact)
}
