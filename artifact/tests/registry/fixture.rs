//! A small artifact, and stores for it in temporary directories.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parbake_artifact::registry::{Options, Published, Pulled, publish, pull};
use parbake_artifact::{
    Digest, MachineLayers, NewArtifact, PackOptions, Reference, RegistryError, Store, Tag,
};
use tempfile::TempDir;

/// The layers and their sizes in bytes; they do not compress.
const LAYERS: [(&str, usize); 3] = [
    ("os", 2_000_000),
    ("images", 1_000_000),
    ("machine/node01", 300_000),
];

/// A store in a temporary directory.
pub(crate) struct TestStore {
    pub(crate) store: Arc<Store>,
    pub(crate) dir: TempDir,
}

impl TestStore {
    pub(crate) fn empty() -> Self {
        // Not every `/tmp` supports the attributes of unpacked layers.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        Self { store, dir }
    }

    /// With the artifact `small`.
    pub(crate) fn with_artifact() -> Self {
        let new = Self::empty();
        create(&new.store, new.dir.path(), &tag(), 1);
        new
    }

    /// With the artifact `older`, of which [`tag`] is the next edition: an eighth of `os` and `images` differs.
    pub(crate) fn with_older() -> Self {
        let new = Self::empty();
        create(&new.store, new.dir.path(), &older(), 0);
        new
    }

    /// With both artifacts.
    pub(crate) fn with_both() -> Self {
        let new = Self::with_older();
        create(&new.store, new.dir.path(), &tag(), 1);
        new
    }

    pub(crate) async fn pull(&self, reference: &Reference) -> Result<Pulled, RegistryError> {
        pull(&self.store, reference, Some(&tag()), &options()).await
    }

    pub(crate) async fn publish(&self, reference: &Reference) -> Result<Published, RegistryError> {
        publish(&self.store, &tag(), reference, &options()).await
    }

    /// Asserts that the artifact is in the store, complete and unpacked.
    pub(crate) fn assert_intact(&self) {
        assert_eq!(self.store.tags().unwrap(), [tag()]);
        assert_intact(&self.store);
    }

    /// Asserts the same for both artifacts.
    pub(crate) fn assert_both_intact(&self) {
        assert_eq!(self.store.tags().unwrap(), [older(), tag()]);
        assert_intact(&self.store);
    }

    /// Asserts that there is no artifact, and no damaged blob.
    pub(crate) fn assert_no_artifact(&self) {
        assert!(
            self.store.tags().unwrap().is_empty(),
            "an incomplete artifact has a tag"
        );
        assert_intact(&self.store);
    }

    /// The size of config and layers, in bytes.
    pub(crate) fn size(&self) -> u64 {
        let (_, manifest) = self.store.manifest_bytes(&tag()).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let config = manifest["config"]["size"].as_u64().unwrap();
        self.store.get(&tag()).unwrap().size() + config
    }

    /// The digest of the largest layer.
    pub(crate) fn largest(&self) -> Digest {
        let artifact = self.store.get(&tag()).unwrap();
        artifact
            .layers
            .iter()
            .max_by_key(|layer| layer.size)
            .unwrap()
            .digest
            .clone()
    }
}

/// The tag of the artifact.
pub(crate) fn tag() -> Tag {
    "small".parse().unwrap()
}

/// The tag of the older edition.
pub(crate) fn older() -> Tag {
    "older".parse().unwrap()
}

/// Without TLS, with a short timeout.
pub(crate) fn options() -> Options {
    Options {
        plain_http: true,
        timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

/// Creates an edition of the artifact.
fn create(store: &Store, work: &Path, tag: &Tag, edition: u64) {
    let options = PackOptions {
        mtime_clamp: Some(0),
        ..PackOptions::default()
    };
    let layers: Vec<_> = LAYERS
        .iter()
        .zip(1..)
        .map(|((title, size), seed)| {
            let tree = work.join(format!("{edition}-{seed}"));
            fs::create_dir(&tree).unwrap();
            for number in 0..8 {
                let changes = number == 0 && !title.starts_with("machine/");
                let seed = seed * 100 + number + if changes { edition * 10 } else { 0 };
                fs::write(tree.join(number.to_string()), noise(seed, size / 8)).unwrap();
            }
            store.add_layer(title, &tree, &options).unwrap()
        })
        .collect();
    let machine = MachineLayers {
        name: "node01".to_owned(),
        layers: layers.iter().map(|layer| layer.digest.clone()).collect(),
    };
    let artifact = NewArtifact {
        created: "2026-01-31T12:00:00Z".parse().unwrap(),
        provider: "none".to_owned(),
        machines: vec![machine],
        cluster: serde_json::json!({}),
        layers,
        secrets: None,
    };
    store.put(tag, artifact).unwrap();
}

/// Asserts that every blob has its digest, and every tagged artifact is complete and unpacked.
pub(crate) fn assert_intact(store: &Store) {
    for entry in fs::read_dir(store.dir().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(
            Digest::of(&fs::read(entry.path()).unwrap()).hex(),
            name,
            "a blob is damaged"
        );
    }
    for tag in store.tags().unwrap() {
        store.verify(&tag).unwrap();
        for layer in store.get(&tag).unwrap().layers {
            let files = fs::read_dir(store.unpacked(&layer).unwrap()).unwrap().count();
            assert_eq!(files, 8, "layer `{}` is not completely unpacked", layer.title);
        }
    }
}

/// Incompressible bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed * 2 + 1);
    (0..length.div_ceil(8))
        .flat_map(|_| random.next().to_le_bytes())
        .take(length)
        .collect()
}

/// Xorshift (Marsaglia, "Xorshift RNGs", 2003); the state must not be 0.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The error and its causes, as the command line prints them.
pub(crate) fn chain(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
