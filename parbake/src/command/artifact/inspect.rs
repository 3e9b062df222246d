//! `parbake artifact inspect`

use parbake_artifact::{Artifact, Reference, Store, Tag};
use parbake_cluster::{ContainerRuntime, Description};
use parbake_provision::inputs::os_name;
use serde::Serialize;

use super::super::attached;
use crate::cli::Global;
use crate::output::{self, size, table};

/// The layer that has the nodes' operating system.
const OS_LAYER: &str = "os";

/// Show what an artifact consists of
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    tag: Tag,
}

/// One artifact in full.
#[derive(Debug, Serialize)]
struct Inspected {
    tag: Tag,
    digest: String,
    /// From where it was pulled, if it was.
    origin: Option<Reference>,
    provider: String,
    created: String,
    architecture: String,
    /// What the nodes' operating system calls itself; empty where it does not say, or is not there yet.
    os: String,
    /// What runs containers on the nodes; nothing where this parbake does not understand what the cluster is.
    runtime: Option<ContainerRuntime>,
    /// The version of parbake that froze it.
    parbake: String,
    size_bytes: u64,
    /// Secrets of its users that it holds, where they were counted.
    secrets: Option<u64>,
    machines: Vec<InspectedMachine>,
    layers: Vec<InspectedLayer>,
    /// Documents about it, and its signatures.
    attached: Vec<attached::Listed>,
    cluster: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct InspectedMachine {
    name: String,
    /// Titles, bottom first.
    layers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct InspectedLayer {
    title: String,
    digest: String,
    size_bytes: u64,
    unpacked_bytes: u64,
}

impl Args {
    pub(crate) fn run(self, global: &Global, store: &Store) -> anyhow::Result<()> {
        let artifact = store.get(&self.tag)?;
        let attached = attached::list(store, &artifact)?;
        let os = artifact.layers.iter().find(|layer| layer.title == OS_LAYER);
        let os = os.map(|layer| os_name(&store.unpacked_path(&layer.digest)).pretty);
        let os = os.unwrap_or_default();
        output::print(global.output, &inspected(artifact, attached, os), inspected_text)
    }
}

fn inspected(artifact: Artifact, attached: Vec<attached::Listed>, os: String) -> Inspected {
    let title = |digest| artifact.layer(digest).map(|layer| layer.title.clone());
    let machines = artifact.config.machines.iter().map(|machine| InspectedMachine {
        name: machine.name.clone(),
        layers: machine.layers.iter().filter_map(title).collect(),
    });
    let layers = artifact.layers.iter().map(|layer| InspectedLayer {
        title: layer.title.clone(),
        digest: layer.digest.to_string(),
        size_bytes: layer.size,
        unpacked_bytes: layer.unpacked_size,
    });
    let cluster = Description::of_artifact(&artifact.config.cluster);
    Inspected {
        runtime: cluster.ok().map(|cluster| cluster.runtime()),
        digest: artifact.digest.to_string(),
        created: artifact.config.created.to_string(),
        size_bytes: artifact.size(),
        secrets: artifact.secrets,
        machines: machines.collect(),
        layers: layers.collect(),
        attached,
        os,
        tag: artifact.tag,
        origin: artifact.origin,
        provider: artifact.config.provider,
        architecture: artifact.config.architecture,
        parbake: artifact.config.parbake,
        cluster: artifact.config.cluster,
    }
}

fn inspected_text(artifact: &Inspected) -> String {
    let mut text = format!(
        "artifact    {}\ndigest      {}\nprovider    {}\nnode OS     {}\nruntime     {}\ncreated     {} by parbake {}\nsize        {}\nsecrets     {}\n\n",
        artifact.tag,
        artifact.digest,
        artifact.provider,
        match artifact.os.as_str() {
            "" => "-",
            os => os,
        },
        artifact.runtime.map_or("-", ContainerRuntime::as_str),
        artifact.created,
        artifact.parbake,
        size(artifact.size_bytes),
        match artifact.secrets {
            Some(secrets) => secrets.to_string(),
            None => "not counted".to_owned(),
        },
    );
    let machines = artifact.machines.iter();
    let rows = machines.map(|machine| [machine.name.clone(), machine.layers.join(", ")]);
    if let Some(origin) = &artifact.origin {
        text.insert_str(text.len() - 1, &format!("pulled from {origin}\n"));
    }
    text.push_str(&table(["MACHINE", "LAYERS, BOTTOM FIRST"], rows));
    text.push('\n');
    let rows = artifact.layers.iter().map(|layer| {
        [
            layer.title.clone(),
            size(layer.size_bytes),
            size(layer.unpacked_bytes),
            layer.digest.clone(),
        ]
    });
    text.push_str(&table(["LAYER", "COMPRESSED", "UNPACKED", "DIGEST"], rows));
    text.push_str(&attached::table_of(&artifact.attached));
    text
}
