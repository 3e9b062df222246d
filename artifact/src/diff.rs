//! Compares two artifacts file by file.
//!
//! Layers are compared by title. Those with equal digests are not read; others are streamed, and checked against their digests
//! on the way.

mod config;
mod files;

use serde::Serialize;

use crate::config::MachineLayers;
use crate::digest::Digest;
use crate::layer::{Layer, contents};
use crate::store::{Artifact, Store, StoreError};

pub use config::FieldChange;
pub use files::{Attribute, Change, FileChange};

/// The differences between the artifacts `a` and `b`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Digest of the manifest of `a`. If both digests are equal, all lists are empty.
    pub a: Digest,
    pub b: Digest,
    /// Fields of the configs, except those that follow from machines and layers.
    pub config: Vec<FieldChange>,
    /// Machines that only one artifact has, or whose layers have other titles.
    pub machines: Vec<MachineChange>,
    /// Number of layers that are equal in both.
    pub same_layers: usize,
    /// The other layers: those of `a` in its order, then those that only `b` has.
    pub layers: Vec<LayerChange>,
}

/// A machine that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineChange {
    pub name: String,
    /// Titles of its layers in `a`, bottom first; `None` if `a` has no such machine.
    pub a: Option<Vec<String>>,
    pub b: Option<Vec<String>>,
}

/// A layer that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerChange {
    pub title: String,
    pub a: Option<Layer>,
    pub b: Option<Layer>,
    /// Files that differ, by path, if both artifacts have the layer. Empty if the same files are packed differently.
    pub files: Vec<FileChange>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.machines.is_empty() && self.layers.is_empty()
    }
}

impl Store {
    /// Compares two artifacts of this store.
    ///
    /// # Errors
    /// A layer that has to be read is missing, damaged or not valid.
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
