//! The layers of an artifact that each node of a cluster is stacked from.

use std::path::PathBuf;

use parbake_artifact::{Artifact, Layer, Store};
use parbake_cluster::{Description, Node, NodeName};

use crate::error::Error;

/// The unpacked layers of each node, bottom first.
pub(crate) struct LayerStacks(Vec<(NodeName, Vec<PathBuf>)>);

impl LayerStacks {
    /// The stacks of `nodes`, some of which may not be in the artifact, which has the nodes of `baked`.
    pub(crate) fn of(
        store: &Store,
        artifact: &Artifact,
        baked: &Description,
        nodes: &[Node],
    ) -> Result<Self, Error> {
        let stack = |node: &Node| {
            let layers = layers_of(artifact, baked, node)?.into_iter();
            let unpacked = layers
                .map(|layer| store.unpacked(layer))
                .collect::<Result<_, _>>()?;
            Ok((node.name.clone(), unpacked))
        };
        let stacks = nodes.iter().map(stack).collect::<Result<_, Error>>();
        Ok(Self(stacks?))
    }

    /// The layers of `node`, bottom first.
    pub(crate) fn get(&self, node: &Node) -> Vec<PathBuf> {
        let found = self.0.iter().find(|(name, _)| *name == node.name);
        found.map(|(_, stack)| stack.clone()).unwrap_or_default()
    }
}

/// The layers of `node`, bottom first. A node that is not in the artifact has the layers that all machines share.
///
/// # Errors
/// The node was baked, but the artifact has no layers for it.
pub(crate) fn layers_of<'a>(
    artifact: &'a Artifact,
    baked: &Description,
    node: &Node,
) -> Result<Vec<&'a Layer>, Error> {
    let name = node.name.as_str();
    match artifact.machine_layers(name) {
        Some(layers) => Ok(layers),
        None if baked.node(&node.name).is_some() => Err(Error::NoLayers(name.to_owned())),
        None => Ok(artifact.shared_layers()),
    }
}
