//! Artifacts that differ from the baked one in what a test wants, made as every artifact is: through the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use parbake_artifact::{Layer, NewArtifact, PackOptions, Store};

use crate::place::{Outcome, PROVIDER, Place, check};

/// A variant in the making.
pub struct Variant {
    store: Store,
    /// Where changed trees are put together.
    work: PathBuf,
    pub draft: NewArtifact,
}

impl Variant {
    /// Begins with the artifact as it was baked.
    pub fn begin(place: &Place) -> Result<Self, String> {
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

    /// Another artifact with the same layers: baked at another time.
    pub fn of_another_time(place: &Place) -> Result<Self, String> {
        let mut variant = Self::begin(place)?;
        variant.draft.created = Timestamp::UNIX_EPOCH;
        Ok(variant)
    }

    /// Another artifact, of a tenth of the size, for what is never started: it has the control plane's own layer alone.
    pub fn small(place: &Place) -> Result<Self, String> {
        let mut variant = Self::begin(place)?;
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

    /// The file `path` of the layer `title`, where the store has it.
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

    /// Changes a copy of the layer `title`, which takes the place of the layer.
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

    /// Puts it into the store as `tag`.
    pub fn put(self, tag: &str) -> Outcome {
        let name = tag.parse().map_err(|_| format!("`{tag}` is no tag"))?;
        self.store
            .put(&name, self.draft)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Calls the variant `tag`, runs `test`, and takes the name away again.
    pub fn try_as(self, place: &Place, tag: &str, test: impl FnOnce() -> Outcome) -> Outcome {
        self.put(tag)?;
        let outcome = test();
        place.run(&["artifact", "remove", tag])?;
        outcome
    }
}
