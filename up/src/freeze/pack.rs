//! The layers and the artifact.

use std::fs;

use jiff::Timestamp;
use parbake_artifact::{Artifact, Layer, MACHINE_LAYER, MachineLayers, NewArtifact, PackOptions, Store};
use parbake_cluster::machine_plan;
use parbake_cluster::{ContainerRuntime, Description, Node};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;

use super::Options;
use crate::Error;
use crate::layer_stacks::layers_of;
use crate::state::{ClusterLock, Record};

/// Packs what each machine wrote into a layer above those it came with; gives the artifact and how many bytes of it are
/// new.
pub(super) fn pack(
    options: &Options,
    store: &Store,
    parent: &Artifact,
    record: &Record,
    scratch: &ClusterLock,
    secrets: u64,
) -> Result<(Artifact, u64), Error> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut own_layers = Vec::new();
    let mut machines = Vec::new();
    let baked = Description::of_artifact(&parent.config.cluster)?;
    let _step = tracing::info_span!("step", what = "pack the files of the nodes").entered();
    for node in record.cluster.nodes() {
        let name = node.name.as_str();
        let below = layers_of(parent, &baked, node)?;
        let own = own_layer(store, &title(parent, name), baked.runtime(), node, scratch)?;
        let stack = below.iter().map(|layer| layer.digest.clone());
        machines.push(MachineLayers {
            name: name.to_owned(),
            layers: stack.chain([own.digest.clone()]).collect(),
        });
        for layer in below {
            if !layers.contains(layer) {
                layers.push(layer.clone());
            }
        }
        own_layers.push(own);
    }
    let own_bytes = own_layers.iter().map(|layer| layer.size).sum();
    layers.extend(own_layers);
    let draft = NewArtifact {
        created: Timestamp::now(),
        provider: parent.config.provider.clone(),
        machines,
        cluster: serde_json::to_value(&record.cluster).expect("names, numbers and addresses are JSON"),
        layers,
        secrets: Some(secrets),
    };
    Ok((store.put(&options.tag, draft)?, own_bytes))
}

/// `machine/node01` for a node that joined, `machine/node01.2` above it, and so on.
fn title(parent: &Artifact, node: &str) -> String {
    let taken = |title: &String| parent.layers.iter().any(|layer| layer.title == *title);
    let first = format!("{MACHINE_LAYER}{node}");
    let more = (2_u32..).map(|number| format!("{MACHINE_LAYER}{node}.{number}"));
    std::iter::once(first)
        .chain(more)
        .find(|title| !taken(title))
        .expect("an artifact has fewer layers than there are numbers")
}

fn own_layer(
    store: &Store,
    title: &str,
    runtime: ContainerRuntime,
    node: &Node,
    scratch: &ClusterLock,
) -> Result<Layer, Error> {
    let dir = machine_plan::machine_dir(scratch.dir(), node);
    let dirs = Dirs(&dir);
    let upper = dirs.upper();
    // The runtime's state is no part of the overlay; a machine starts with that of its topmost layer. Images that were
    // loaded since are in it.
    let state = runtime.answers().dir;
    let (plain, target) = (dirs.plain(state.as_ref()), upper.join(state));
    if target.exists() {
        fs::remove_dir_all(&target).map_err(failed("remove", &target))?;
    }
    let parent = target.parent().unwrap_or(&upper);
    fs::create_dir_all(parent).map_err(failed("make", parent))?;
    fs::rename(&plain, &target).map_err(failed("move", &plain))?;
    Ok(store.adopt_layer(title, &upper, &PackOptions::default())?)
}
