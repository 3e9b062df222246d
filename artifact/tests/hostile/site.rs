//! A store beside files that must not change.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use parbake_artifact::{Artifact, Layer, Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::stream::Stream;

/// Inode, mode, owner, size, modification time, number of links and content of a file.
type State = (u64, u32, (u32, u32), u64, (i64, i64), u64, Vec<u8>);

pub(crate) struct Site {
    temp: TempDir,
    pub(crate) store: Store,
}

impl Site {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test changes owners of files: run it as root"
        );
        let temp = tempfile::tempdir().unwrap();
        let canary = temp.path().join("canary");
        fs::create_dir_all(canary.join("dir")).unwrap();
        fs::write(canary.join("file"), "untouched").unwrap();
        fs::write(canary.join("dir/file"), "untouched").unwrap();
        symlink("file", canary.join("link")).unwrap();
        let store = Store::open(&temp.path().join("state/store")).unwrap();
        Self { temp, store }
    }

    /// The absolute path of a file outside of the store.
    pub(crate) fn outside(&self) -> String {
        self.temp.path().join("canary/file").to_str().unwrap().to_owned()
    }

    /// Imports and unpacks a layer as a pull does. Checks that nothing but the unpacked layer was created.
    pub(crate) fn unpack_blob(&self, blob: &[u8], layer: &Layer) -> Result<PathBuf, StoreError> {
        self.store_blob(blob);
        let layers = std::slice::from_ref(layer);
        let artifact = self.import(&manifest(layers), &config(layers))?;
        let before = self.state();
        let outcome = self.store.unpacked(&artifact.layers[0]);
        let mut after = self.state();
        let unpacked = outcome.as_ref().ok();
        after.retain(|path, _| !unpacked.is_some_and(|unpacked| path.starts_with(unpacked)));
        assert_same(&before, &after);
        outcome
    }

    pub(crate) fn unpack(&self, stream: Stream) -> Result<PathBuf, StoreError> {
        let (blob, layer) = stream.blob();
        self.unpack_blob(&blob, &layer)
    }

    /// Imports an artifact whose blobs are present, except the config. Checks that a rejected one changes nothing.
    pub(crate) fn import(&self, manifest: &Value, config: &Value) -> Result<Artifact, StoreError> {
        self.import_bytes(manifest, config.to_string().as_bytes())
    }

    pub(crate) fn import_bytes(&self, manifest: &Value, config: &[u8]) -> Result<Artifact, StoreError> {
        let mut manifest = manifest.clone();
        manifest["config"]["digest"] = json!(self.store_blob(config).as_str());
        manifest["config"]["size"] = json!(config.len());
        self.import_as_is(manifest.to_string().as_bytes())
    }

    pub(crate) fn import_as_is(&self, manifest: &[u8]) -> Result<Artifact, StoreError> {
        let before = self.state();
        let outcome = self.store.import(&"hostile".parse().unwrap(), manifest, None);
        if outcome.is_err() {
            assert_same(&before, &self.state());
        }
        outcome
    }

    fn store_blob(&self, blob: &[u8]) -> parbake_artifact::Digest {
        let digest = parbake_artifact::Digest::of(blob);
        let mut writer = self.store.blob_writer(&digest, blob.len() as u64).unwrap();
        writer.write_all(blob).unwrap();
        writer.finish().unwrap();
        digest
    }

    /// The state of all files, except times of directories, which change with their content, and locks of layers.
    fn state(&self) -> BTreeMap<PathBuf, State> {
        let mut state = BTreeMap::new();
        for entry in WalkDir::new(self.temp.path()) {
            let entry = entry.unwrap();
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let is_lock = path.extension().is_some_and(|extension| extension == "lock");
            if is_lock && path.parent() == Some(&self.store.dir().join("tmp")) {
                continue;
            }
            let (size, mtime) = if metadata.is_dir() {
                (0, (0, 0))
            } else {
                (metadata.size(), (metadata.mtime(), metadata.mtime_nsec()))
            };
            let owner = (metadata.uid(), metadata.gid());
            let content = if metadata.is_file() {
                fs::read(path).unwrap()
            } else {
                Vec::new()
            };
            let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
            let file_state = (
                metadata.ino(),
                metadata.mode(),
                owner,
                size,
                mtime,
                links,
                content,
            );
            state.insert(path.to_owned(), file_state);
        }
        state
    }
}

fn assert_same(before: &BTreeMap<PathBuf, State>, after: &BTreeMap<PathBuf, State>) {
    let paths = |state: &BTreeMap<PathBuf, State>| state.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(before), paths(after), "something was made or removed");
    for (path, state) in before {
        assert_eq!(*state, after[path], "{} was changed", path.display());
    }
}

/// A manifest of layers; its config is filled in on import.
pub(crate) fn manifest(layers: &[Layer]) -> Value {
    let layers = layers.iter().map(|layer| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
            "digest": layer.digest.as_str(),
            "size": layer.size,
            "annotations": {
                "dev.parbake.layer.title": layer.title,
                "dev.parbake.layer.unpacked-size": layer.unpacked_size.to_string(),
            },
        })
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.parbake.cluster.config.v1+json", "digest": "", "size": 0},
        "layers": layers.collect::<Vec<_>>(),
    })
}

pub(crate) fn config(layers: &[Layer]) -> Value {
    let digests: Vec<_> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    json!({
        "version": 1,
        "created": "2026-01-31T12:00:00Z",
        "parbake": "0.1.0",
        "architecture": "amd64",
        "os": "linux",
        "provider": "k8s-1.34",
        "machines": [{"name": "node01", "layers": digests}],
        "cluster": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// The error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
