//! Mends what [`Store::examine`] found.

use std::collections::BTreeSet;

use super::{Problem, ProblemKind, Store, StoreError};
use crate::digest::Digest;
use crate::layer::{Layer, PackOptions};

impl Store {
    /// Mends what can be mended without a network: an unpacked layer from its blob, and a blob from what it was unpacked
    /// to, if that gives the very same bytes. `in_use` tells the layers that clusters use, whose directories must stay as
    /// they are; it is asked when no cluster can be started meanwhile. Gives back the problems that remain.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when somebody else uses the store. Otherwise when the store cannot be written, or `in_use`
    /// fails. What was unpacked is there, or is unpacked when it is next needed.
    pub fn repair<E: From<StoreError>>(
        &mut self,
        problems: Vec<Problem>,
        in_use: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Vec<Problem>, E> {
        let alone = self.exclusive()?;
        let in_use = in_use()?;
        let (mended, remaining): (Vec<_>, Vec<_>) = problems.into_iter().partition(
            |problem| matches!(&problem.kind, ProblemKind::Unpacked(layer, _) if !in_use.contains(&layer.digest)),
        );
        let layers: Vec<&Layer> = mended.iter().filter_map(|problem| layer(&problem.kind)).collect();
        alone.discard_unpacked(layers.iter().map(|layer| &layer.digest))?;
        drop(alone);
        // From now on others may use the store, and wait for the layer that they need.
        for layer in layers {
            self.unpacked(layer)?;
        }
        let mut left = Vec::new();
        for problem in remaining {
            match &problem.kind {
                ProblemKind::Blob(layer, _) if self.pack_again(layer)? => {}
                _ => left.push(problem),
            }
        }
        Ok(left)
    }

    /// Whether the blob is whole again.
    fn pack_again(&self, layer: &Layer) -> Result<bool, StoreError> {
        let dir = self.unpacked_path(&layer.digest);
        if !dir.is_dir() {
            return Ok(false);
        }
        match self.add_layer(&layer.title, &dir, &PackOptions::default()) {
            Ok(packed) => Ok(packed.digest == layer.digest),
            // It is no layer any more.
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
