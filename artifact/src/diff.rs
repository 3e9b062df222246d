//! What differs between two artifacts, file by file.
//!
//! Layers are compared by title. Two of the same digest are the same and are not read; two others are both streamed, and
//! checked against their digests while they are.

mod config;
mod files;

use serde::Serialize;

use crate::config::MachineLayers;
use crate::digest::Digest;
use crate::layer::{Layer, contents};
use crate::store::{Artifact, Store, StoreError};

pub use config::FieldChange;
pub use files::{Attribute, Change, FileChange};

/// What differs between the artifacts `a` and `b`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Digest of the manifest of `a`. When both are equal, so are the artifacts, and all below is empty.
    pub a: Digest,
    /// Digest of the manifest of `b`.
    pub b: Digest,
    /// Fields of the configs, except those that follow from the layers.
    pub config: Vec<FieldChange>,
    /// Machines that only one has, or that are stacked from layers of other titles.
    pub machines: Vec<MachineChange>,
    /// How many layers, by title, are the same in both.
    pub same_layers: usize,
    /// The other layers, those of `a` in its order, then those that only `b` has.
    pub layers: Vec<LayerChange>,
}

/// A machine that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineChange {
    /// Its name.
    pub name: String,
    /// The titles of its layers in `a`, bottom first; `None` where it is not there.
    pub a: Option<Vec<String>>,
    /// The same in `b`.
    pub b: Option<Vec<String>>,
}

/// A layer that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerChange {
    /// Its title.
    pub title: String,
    /// The layer in `a`; `None` where it is not there.
    pub a: Option<Layer>,
    /// The layer in `b`.
    pub b: Option<Layer>,
    /// What differs in it, by path, where both have it. Nothing when the same files are packed in another way.
    pub files: Vec<FileChange>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.machines.is_empty() && self.layers.is_empty()
    }
}

impl Store {
    /// Compares two artifacts of this store.
    ///
    /// # Errors
    /// When a layer that has to be read is missing, damaged, or holds what no layer may hold.
    pub fn diff(&self, a: &Artifact, b: &Artifact) -> Result<Difference, StoreError> {
        let mut layers = Vec::new();
        let mut same_layers = 0;
        for layer in &a.layers {
            match titled(b, &layer.title) {
                Some(other) if other.digest == layer.digest => same_layers += 1,
                other => layers.push(self.diff_layers(Some(layer), other)?),
            }
        }
        for layer in b.layers.iter().filter(|layer| titled(a, &layer.title).is_none()) {
            layers.push(self.diff_layers(None, Some(layer))?);
        }
        Ok(Difference {
            a: a.digest.clone(),
            b: b.digest.clone(),
            config: config::changes(&a.config, &b.config),
            machines: machine_changes(a, b),
            same_layers,
            layers,
        })
    }

    fn diff_layers(&self, a: Option<&Layer>, b: Option<&Layer>) -> Result<LayerChange, StoreError> {
        let files = match (a, b) {
            (Some(a), Some(b)) => {
                let contents = |layer| self.read_layer(layer, contents);
                files::changes(contents(a)?, contents(b)?)
            }
            _ => Vec::new(),
        };
        let title = a.or(b).map(|layer| layer.title.clone()).unwrap_or_default();
        Ok(LayerChange {
            title,
            a: a.cloned(),
            b: b.cloned(),
            files,
        })
    }
}

fn titled<'a>(artifact: &'a Artifact, title: &str) -> Option<&'a Layer> {
    artifact.layers.iter().find(|layer| layer.title == title)
}

fn machine_changes(a: &Artifact, b: &Artifact) -> Vec<MachineChange> {
    let titles = |artifact: &Artifact, name: &str| -> Option<Vec<String>> {
        let layers = artifact.machine_layers(name)?;
        Some(layers.into_iter().map(|layer| layer.title.clone()).collect())
    };
    let only_b = |machine: &&MachineLayers| a.machine_layers(&machine.name).is_none();
    let machines = a
        .config
        .machines
        .iter()
        .chain(b.config.machines.iter().filter(only_b));
    machines
        .map(|machine| MachineChange {
            name: machine.name.clone(),
            a: titles(a, &machine.name),
            b: titles(b, &machine.name),
        })
        .filter(|change| change.a != change.b)
        .collect()
}

#[cfg(test)]
mod tests;
