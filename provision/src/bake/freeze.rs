//! Freezes a ready cluster into an artifact.

use jiff::Timestamp;
use parbake_artifact::{Artifact, Layer, MachineLayers, NewArtifact, Store};
use parbake_cluster::model::machine_plan;
use parbake_cluster::sanitize::node_files::{self, Owner};
use parbake_cluster::{Description, Node};
use parbake_machine::fs::Dirs;

use super::bootstrap::ReadyCluster;
use super::workspace::Workspace;
use super::{Error, MACHINE_LAYER, Options, layers, settle};
use crate::inputs::{Binary, Inputs};

/// Settles and stops the cluster, removes credentials from its files, packs them and writes the artifact.
pub(super) fn freeze(
    options: &Options,
    store: &Store,
    shared: Vec<Layer>,
    inputs: &Inputs,
    workspace: &Workspace,
    ready: ReadyCluster,
) -> Result<Artifact, Error> {
    let ReadyCluster {
        cluster,
        running,
        client,
        runtime,
    } = ready;
    let secrets = settle::settle(&running, &runtime, &client, &cluster)?;
    drop(client);
    {
        let _step = tracing::info_span!("step", what = "power the machines off").entered();
        let _stopped = running.stop()?;
    }
    let tool = etcd_tool(&cluster, inputs)?;
    let below: Vec<_> = shared.iter().map(|layer| layer.digest.clone()).collect();
    let mut layers = shared;
    let mut machines = Vec::new();
    let upper = |node: &Node| Dirs(&machine_plan::machine_dir(&workspace.dir("cluster"), node)).upper();
    let control_planes: Vec<_> = cluster.control_planes().map(|node| (node, upper(node))).collect();
    node_files::rebuild_etcd(&control_planes, &tool.path)?;
    let _step = tracing::info_span!("step", what = "pack the files of the machines").entered();
    for node in cluster.nodes() {
        let upper = upper(node);
        node_files::sanitize(&upper, Owner::Bake)?;
        let own = store.adopt_layer(&format!("{MACHINE_LAYER}{}", node.name), &upper, &layers::pack())?;
        let stack = [below.as_slice(), std::slice::from_ref(&own.digest)].concat();
        machines.push(MachineLayers {
            name: node.name.to_string(),
            layers: stack,
        });
        layers.push(own);
    }
    let draft = NewArtifact {
        created: Timestamp::now(),
        provider: options.provider.name.to_string(),
        machines,
        cluster: serde_json::to_value(&cluster).unwrap_or_default(),
        layers,
        secrets: Some(secrets),
    };
    let attestation = super::attestation(options, inputs);
    Ok(store.put_with_documents(&options.tag, draft, |artifact| attestation.documents(artifact))?)
}

/// The tool that rewrites etcd's files, without which the keys of the bake would remain in them.
pub(super) fn etcd_tool<'a>(cluster: &Description, inputs: &'a Inputs) -> Result<&'a Binary, Error> {
    let tool = cluster.kubernetes().compat().etcd_tool();
    inputs.binaries.get(tool).ok_or(Error::NoEtcdTool(tool))
}
