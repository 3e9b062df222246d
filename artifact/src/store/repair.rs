//! Repairs problems that [`Store::examine`] found.

use std::collections::BTreeSet;

use super::{Problem, ProblemKind, Store, StoreError};
use crate::digest::Digest;
use crate::layer::{Layer, PackOptions};

impl Store {
    /// Repairs what does not need a network: an unpacked layer from its blob, and a blob from its unpacked layer if that gives
    /// the same bytes. `in_use` returns the layers that clusters use, whose directories must not change; it is called while
    /// no cluster can be started. Returns the remaining problems.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the store is in use elsewhere; the store cannot be written; or `in_use` fails. Layers that were
    /// removed by then are unpacked when they are next needed.
    pub fn repair<E: From<StoreError>>(
        &mut self,
        problems: Vec<Problem>,
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Vec<Problem>, E> {
        let store = self.exclusive()?;
        let in_use = in_use()?;
        let (repairable, remaining): (Vec<_>, Vec<_>) = problems.into_iter().partition(
            |problem| matches!(&problem.kind, ProblemKind::Unpacked(layer, _) if !in_use.contains(&layer.digest)),
        );
        let layers: Vec<&Layer> = repairable
            .iter()
            .filter_map(|problem| layer(&problem.kind))
            .collect();
        store.discard_unpacked(layers.iter().map(|layer| &layer.digest))?;
        drop(store);
        // Others may use the store again; they wait for layers that are being unpacked.
        for layer in layers {
            self.unpacked(layer)?;
        }
        let mut left = Vec::new();
        for problem in remaining {
            match &problem.kind {
                ProblemKind::Blob(layer, _) if self.repack(layer)? => {}
                _ => left.push(problem),
            }
        }
        Ok(left)
    }

    /// Packs the unpacked layer; true if that restored the blob.
    fn repack(&self, layer: &Layer) -> Result<bool, StoreError> {
        let dir = self.unpacked_path(&layer.digest);
        if !dir.is_dir() {
            return Ok(false);
        }
        match self.add_layer(&layer.title, &dir, &PackOptions::default()) {
            Ok(packed) => Ok(packed.digest == layer.digest),
            Err(StoreError::Pack { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn layer(what: &ProblemKind) -> Option<&Layer> {
    match what {
        ProblemKind::Artifact(_) | ProblemKind::Referrer(_) => None,
        ProblemKind::Blob(layer, _) | ProblemKind::Unpacked(layer, _) => Some(layer),
    }
}
