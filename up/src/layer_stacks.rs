//! What a cluster is made of: an artifact's layers in the store.

use std::path::{Path, PathBuf};

use parbake_artifact::{Artifact, Layer, Policy, Store, Tag};
use parbake_cluster::{Description, Node, NodeName};

use tracing::span::EnteredSpan;

use crate::Error;

/// Whether the host's policy lets the artifact start.
pub(crate) fn allowed(dir: &Path, store: &Store, artifact: &Artifact) -> Result<(), Error> {
    let policy = Policy::load(dir).map_err(Box::new)?;
    Ok(policy.check(store, artifact).map_err(Box::new)?)
}

/// Notes that the artifact is used.
pub(crate) fn mark_used(store: &Store, tag: &Tag) {
    if let Err(error) = store.mark_used(tag) {
        tracing::warn!(%error, "could not note that the artifact is used");
    }
}

/// The step that is reported if layers are to be unpacked.
fn unpack_step(store: &Store, artifact: &Artifact) -> Option<EnteredSpan> {
    let is_missing = |layer: &Layer| !store.unpacked_path(&layer.digest).is_dir();
    let what = format!("unpack `{}`", artifact.tag);
    let missing = artifact.layers.iter().any(is_missing);
    missing.then(|| tracing::info_span!("step", what).entered())
}

/// The unpacked layers of each node, bottom first. A node that was not baked is stacked from what all share.
pub(crate) fn stacks(
    store: &Store,
    artifact: &Artifact,
    cluster: &Description,
) -> Result<Vec<(NodeName, Vec<PathBuf>)>, Error> {
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let _step = unpack_step(store, artifact);
    let stack = |node: &Node| {
        let paths = layers_of(artifact, &baked, node)?
            .into_iter()
            .map(|layer| store.unpacked(layer))
            .collect::<Result<_, _>>()?;
        Ok((node.name.clone(), paths))
    };
    cluster.nodes().iter().map(stack).collect()
}

/// The unpacked layers of a node that was not baked, bottom first.
pub(crate) fn shared_stack(store: &Store, artifact: &Artifact) -> Result<Vec<PathBuf>, Error> {
    let _step = unpack_step(store, artifact);
    let shared = artifact.shared_layers().into_iter();
    shared.map(|layer| Ok(store.unpacked(layer)?)).collect()
}

/// What a node is stacked from, bottom first.
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

/// The layers of one of them.
pub(crate) fn stack_of(stacks: &[(NodeName, Vec<PathBuf>)], node: &Node) -> Vec<PathBuf> {
    let found = stacks.iter().find(|(name, _)| *name == node.name);
    found.map(|(_, stack)| stack.clone()).unwrap_or_default()
}
