//! Modified copies of the baked artifact, made through the store like any artifact.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use parbake_artifact::{Layer, NewArtifact, PackOptions, Store};

use crate::place::{Outcome, PROVIDER, Place, check};

/// A modified artifact that is not stored yet.
pub struct Variant {
    store: Store,
    /// The directory in which changed layers are assembled.
    work: PathBuf,
    pub draft: NewArtifact,
}

impl Variant {
    /// Starts from the baked artifact.
    pub fn from_baked(place: &Place) -> Result<Self, String> {
        let store = Store::open(&place.dir().join("store")).map_err(|error| error.to_string())?;
        let tag = PROVIDER.parse().map_err(|_| "no tag".to_owned())?;
        let artifact = store.get(&tag).map_err(|error| error.to_string())?;
        let work = place.dir().join("variant");
        Ok(Self {
            store,
            work,
            draft: NewArtifact {
                created: artifact.config.created,
                provider: artifact.config.provider,
                machines: artifact.config.machines,
                cluster: artifact.config.cluster,
                layers: artifact.layers,
                secrets: artifact.secrets,
            },
        })
    }

    /// The same layers with another creation time.
    pub fn with_other_creation_time(place: &Place) -> Result<Self, String> {
        let mut variant = Self::from_baked(place)?;
        variant.draft.created = Timestamp::UNIX_EPOCH;
        Ok(variant)
    }

    /// A tenth of the size, for tests that do not start it: only the control plane's own layer.
    pub fn small(place: &Place) -> Result<Self, String> {
        let mut variant = Self::from_baked(place)?;
        let own = variant.layer("machine/node01")?.clone();
        variant.draft.machines.truncate(1);
        for machine in &mut variant.draft.machines {
            machine.layers = vec![own.digest.clone()];
        }
        variant.draft.layers = vec![own];
        Ok(variant)
    }

    /// The text of the file `path` in the layer `title`.
    pub fn read(&self, title: &str, path: &str) -> Result<String, String> {
        let file = self.file(title, path)?;
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// The path in the store of the file `path` in the layer `title`.
    pub fn file(&self, title: &str, path: &str) -> Result<PathBuf, String> {
        let unpacked = self.store.unpacked(self.layer(title)?);
        Ok(unpacked.map_err(|error| error.to_string())?.join(path))
    }

    /// Writes the file `path` in the layer `title`.
    pub fn write(&mut self, title: &str, path: &str, text: &str) -> Outcome {
        self.change(title, |tree| {
            let file = tree.join(path);
            let dir = file.parent().ok_or("no directory")?;
            fs::create_dir_all(dir)
                .and_then(|()| fs::write(&file, text))
                .map_err(|error| format!("{}: {error}", file.display()))
        })
    }

    /// Applies `change` to a copy of the layer `title`, which replaces the layer.
    pub fn change(&mut self, title: &str, change: impl FnOnce(&Path) -> Outcome) -> Outcome {
        let old = self.layer(title)?.clone();
        let (from, tree) = (self.file(title, "")?, self.work.join("tree"));
        fs::create_dir_all(&self.work).map_err(|error| error.to_string())?;
        let copied = Command::new("cp")
            .args(["--archive", "--sparse=always"])
            .arg(from)
            .arg(&tree)
            .status();
        let outcome = check(copied.is_ok_and(|status| status.success()), || {
            format!("could not copy `{title}`")
        })
        .and_then(|()| change(&tree))
        .and_then(|()| {
            let layer = self.store.add_layer(title, &tree, &PackOptions::default());
            self.replace(&old, layer.map_err(|error| error.to_string())?);
            Ok(())
        });
        let removed = fs::remove_dir_all(&self.work).map_err(|error| error.to_string());
        outcome.and(removed)
    }

    fn layer(&self, title: &str) -> Result<&Layer, String> {
        let mut layers = self.draft.layers.iter();
        layers
            .find(|layer| layer.title == title)
            .ok_or_else(|| format!("no layer `{title}`"))
    }

    fn replace(&mut self, old: &Layer, new: Layer) {
        for digest in self
            .draft
            .machines
            .iter_mut()
            .flat_map(|machine| &mut machine.layers)
        {
            if *digest == old.digest {
                *digest = new.digest.clone();
            }
        }
        for layer in &mut self.draft.layers {
            if layer.digest == old.digest {
                *layer = new.clone();
            }
        }
    }

    /// Stores it as `tag`.
    pub fn put(self, tag: &str) -> Outcome {
        let name = tag.parse().map_err(|_| format!("`{tag}` is no tag"))?;
        self.store
            .put(&name, self.draft)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Stores it as `tag`, runs `test`, and removes the tag.
    pub fn with_tag(self, place: &Place, tag: &str, test: impl FnOnce() -> Outcome) -> Outcome {
        self.put(tag)?;
        let outcome = test();
        place.run(&["artifact", "remove", tag])?;
        outcome
    }
}
