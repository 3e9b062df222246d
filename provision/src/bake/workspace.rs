//! The working directory of a bake, and the records that bakes keep for later ones.
//!
//! ```text
//! DIR/bake/
//! ├── k8s-1.34.lock       locked (flock) by the bake of this tag
//! ├── k8s-1.34/           its machines and trees; removed at the end, unless the bake failed with `--keep`
//! ├── k8s-1.34.json       the last bake: the inputs of its artifact and of each step
//! └── steps/KEY.json      the layers that a step made from inputs with this key
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parbake_artifact::{Digest, Layer, Store, Tag};
use parbake_machine::fs::files::{failed, replace};
use parbake_machine::supervisor::Stopped;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::explain::Reason;
use super::steps::{NO_LAYERS, Step, StepRecord};

/// The working directory of a bake, locked.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: PathBuf,
    keep: bool,
    finished: bool,
    _lock: File,
}

/// The inputs that an artifact was made from.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    /// The key of the last step.
    inputs: Digest,
    artifact: Digest,
    /// Empty in records of older versions.
    #[serde(default)]
    steps: Vec<StepRecord>,
}

/// The record of the last bake of a tag.
#[derive(Debug)]
pub(super) struct BuildHistory {
    tag: Tag,
    origin: Option<Origin>,
}

impl BuildHistory {
    /// Reads the record below the state directory `dir`, if there is one.
    pub(super) fn read(dir: &Path, tag: &Tag) -> Self {
        Self {
            tag: tag.clone(),
            origin: read(&origin_path(dir, tag)),
        }
    }

    /// True if the last bake made `artifact` from inputs with the key `inputs`.
    pub(super) fn is_from(&self, inputs: &Digest, artifact: &Digest) -> bool {
        let same = |origin: &Origin| origin.inputs == *inputs && origin.artifact == *artifact;
        self.origin.as_ref().is_some_and(same)
    }

    /// Why a step runs; `not_found` is the reason if its inputs are unchanged.
    pub(super) fn reason(&self, step: &StepRecord, not_found: &str) -> Reason {
        let Some(origin) = self.origin.as_ref().filter(|origin| !origin.steps.is_empty()) else {
            return Reason {
                why: format!("there is no record of an earlier bake of `{}`", self.tag),
                changed: Vec::new(),
            };
        };
        let old = origin.steps.iter().find(|old| old.step == step.step);
        Reason::from_changes(old, step, not_found)
    }
}

impl Workspace {
    /// Locks the directory of `tag` below the state directory `dir`, and removes what a killed bake left.
    pub(super) fn lock(dir: &Path, tag: &Tag, keep: bool) -> Result<Self, Error> {
        let bakes = dir.join("bake");
        fs::create_dir_all(bakes.join("steps")).map_err(failed("make", &bakes))?;
        let path = bakes.join(format!("{tag}.lock"));
        let lock = File::create(&path).map_err(failed("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Busy(tag.clone()))?;
        let workspace = Self {
            dir: bakes.join(tag.as_str()),
            keep,
            finished: false,
            _lock: lock,
        };
        workspace.clear()?;
        fs::create_dir_all(&workspace.dir).map_err(failed("make", &workspace.dir))?;
        Ok(workspace)
    }

    /// The path of the subdirectory `name`.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Removes the directory after a successful bake.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.finished = true;
        self.clear()
    }

    /// Stops the machines in the directory and removes it.
    fn clear(&self) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let _stopped = Stopped::ensure(&entry.path())?;
        }
        Ok(fs::remove_dir_all(&self.dir).map_err(failed("remove", &self.dir))?)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.keep {
            tracing::info!("the files of the failed bake are in `{}`", self.dir.display());
        } else if let Err(error) = self.clear() {
            tracing::warn!(%error, "could not clean up after the bake");
        }
    }
}

/// The layers that an earlier run of the step with this key made, if the store still has them.
pub(super) fn reusable(dir: &Path, store: &Store, key: &Digest) -> Option<Vec<Layer>> {
    let layers = read::<Vec<Layer>>(&step_path(dir, key))?;
    let in_store = layers.iter().all(|layer| store.unpacked(layer).is_ok());
    in_store.then_some(layers)
}

fn step_path(dir: &Path, key: &Digest) -> PathBuf {
    dir.join("bake/steps").join(format!("{}.json", key.hex()))
}

/// The layers of a step: from the store if they are reusable, otherwise made by `make`. Logs the reason.
pub(super) fn step(
    dir: &Path,
    store: &Store,
    history: &BuildHistory,
    step: &Step,
    make: impl FnOnce() -> Result<Vec<Layer>, Error>,
) -> Result<Vec<Layer>, Error> {
    let key = step.key();
    if let Some(layers) = reusable(dir, store, &key) {
        let titles: Vec<&str> = layers.iter().map(|layer| layer.title.as_str()).collect();
        tracing::debug!("reusing {}", titles.join(", "));
        return Ok(layers);
    }
    let reason = history.reason(&step.record(), NO_LAYERS);
    let what = format!("{}: {}", step.name, reason.why);
    let layers = tracing::info_span!("step", what).in_scope(make)?;
    write(&step_path(dir, &key), &layers)?;
    Ok(layers)
}

/// Records that `artifact` was made from inputs with the key `inputs`, and the inputs of each step.
pub(super) fn record(
    dir: &Path,
    tag: &Tag,
    inputs: &Digest,
    artifact: &Digest,
    steps: Vec<StepRecord>,
) -> Result<(), Error> {
    let origin = Origin {
        inputs: inputs.clone(),
        artifact: artifact.clone(),
        steps,
    };
    write(&origin_path(dir, tag), &origin)
}

fn origin_path(dir: &Path, tag: &Tag) -> PathBuf {
    dir.join("bake").join(format!("{tag}.json"))
}

/// An unreadable record counts as missing.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let written = serde_json::to_vec_pretty(value).map_err(io::Error::from);
    let written = written.and_then(|text| replace(path, &text, 0o644));
    Ok(written.map_err(failed("write", path))?)
}
