//! A small artifact, the stores that it comes from and goes to, and what must hold of them.

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

/// The layers and their lengths in bytes, which do not compress.
const LAYERS: [(&str, usize); 3] = [
    ("os", 2_000_000),
    ("images", 1_000_000),
    ("machine/node01", 300_000),
];

/// A store in a directory that goes with it.
pub(crate) struct Place {
    pub(crate) store: Arc<Store>,
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn empty() -> Self {
        // Not every `/tmp` can hold what an unpacked layer needs.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        Self { store, dir }
    }

    /// One with the artifact `small`.
    pub(crate) fn with_artifact() -> Self {
        let place = Self::empty();
        make(&place.store, place.dir.path(), &tag(), 1);
        place
    }

    /// One with the artifact `older`, of which [`Place::with_artifact`] has the next edition: `os` and `images` changed
    /// by an eighth.
    pub(crate) fn with_older() -> Self {
        let place = Self::empty();
        make(&place.store, place.dir.path(), &older(), 0);
        place
    }

    /// One with both.
    pub(crate) fn with_both() -> Self {
        let place = Self::with_older();
        make(&place.store, place.dir.path(), &tag(), 1);
        place
    }

    pub(crate) async fn pull(&self, reference: &Reference) -> Result<Pulled, RegistryError> {
        pull(&self.store, reference, Some(&tag()), &options()).await
    }

    pub(crate) async fn publish(&self, reference: &Reference) -> Result<Published, RegistryError> {
        publish(&self.store, &tag(), reference, &options()).await
    }

    /// The artifact is there, whole and unpacked.
    pub(crate) fn check(&self) {
        assert_eq!(self.store.tags().unwrap(), [tag()]);
        check(&self.store);
    }

    /// So it is, beside the older one.
    pub(crate) fn check_both(&self) {
        assert_eq!(self.store.tags().unwrap(), [older(), tag()]);
        check(&self.store);
    }

    /// There is no artifact, and nothing in the store is spoilt.
    pub(crate) fn check_without(&self) {
        assert!(
            self.store.tags().unwrap().is_empty(),
            "half of an artifact has a name"
        );
        check(&self.store);
    }

    /// What it takes in a registry, in bytes.
    pub(crate) fn size(&self) -> u64 {
        let (_, manifest) = self.store.manifest_bytes(&tag()).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let config = manifest["config"]["size"].as_u64().unwrap();
        self.store.get(&tag()).unwrap().size() + config
    }

    /// Its largest layer.
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

/// The artifact's name.
pub(crate) fn tag() -> Tag {
    "small".parse().unwrap()
}

/// The older artifact's name.
pub(crate) fn older() -> Tag {
    "older".parse().unwrap()
}

/// Without TLS, and with little patience.
pub(crate) fn options() -> Options {
    Options {
        plain_http: true,
        timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

/// Makes an edition of the artifact.
fn make(store: &Store, work: &Path, tag: &Tag, edition: u64) {
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
    let draft = NewArtifact {
        created: "2026-01-31T12:00:00Z".parse().unwrap(),
        provider: "none".to_owned(),
        machines: vec![machine],
        cluster: serde_json::json!({}),
        layers,
        secrets: None,
    };
    store.put(tag, draft).unwrap();
}

/// Every blob has the bytes of its digest, and whatever has a name is whole and unpacked.
pub(crate) fn check(store: &Store) {
    for entry in fs::read_dir(store.dir().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(
            Digest::of(&fs::read(entry.path()).unwrap()).hex(),
            name,
            "a blob is spoilt"
        );
    }
    for tag in store.tags().unwrap() {
        store.verify(&tag).unwrap();
        for layer in store.get(&tag).unwrap().layers {
            let files = fs::read_dir(store.unpacked(&layer).unwrap()).unwrap().count();
            assert_eq!(files, 8, "layer `{}` is not unpacked whole", layer.title);
        }
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed * 2 + 1);
    (0..length.div_ceil(8))
        .flat_map(|_| random.next().to_le_bytes())
        .take(length)
        .collect()
}

/// Xorshift (Marsaglia, "Xorshift RNGs", 2003); never 0.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The error as people see it.
pub(crate) fn chain(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
