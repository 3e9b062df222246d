//! `parbake artifact inspect`

use parbake_artifact::{Artifact, Reference, Store, Tag};
use parbake_cluster::{ContainerRuntime, Description};
use parbake_provision::inputs::os_name;
use serde::Serialize;

use super::super::attachments;
use crate::args::GlobalArgs;
use crate::output::{self, size, table};

/// The layer with the nodes' operating system.
const OS_LAYER: &str = "os";

/// Show the machines, layers and documents of an artifact
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    tag: Tag,
}

#[derive(Debug, Serialize)]
struct Inspected {
    tag: Tag,
    digest: String,
    /// Where it was pulled from.
    origin: Option<Reference>,
    provider: String,
    created: String,
    architecture: String,
    /// The name of the nodes' operating system; empty if unknown.
    os: String,
    /// `None` if a newer parbake wrote the description of the cluster.
    runtime: Option<ContainerRuntime>,
    /// The version of parbake that froze it.
    parbake: String,
    size_bytes: u64,
    /// Users' secrets in it; `None` if they were not counted.
    secrets: Option<u64>,
    machines: Vec<InspectedMachine>,
    layers: Vec<InspectedLayer>,
    /// Documents and signatures.
    attached: Vec<attachments::Attachment>,
    cluster: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct InspectedMachine {
    name: String,
    /// Titles, lowest first.
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
    pub(crate) fn run(self, global: &GlobalArgs, store: &Store) -> anyhow::Result<()> {
        let artifact = store.get(&self.tag)?;
        let attached = attachments::list(store, &artifact)?;
        let os = artifact.layers.iter().find(|layer| layer.title == OS_LAYER);
        let os = os.map(|layer| os_name(&store.unpacked_path(&layer.digest)).pretty);
        let os = os.unwrap_or_default();
        output::print(global.output, &inspected(artifact, attached, os), inspected_text)
    }
}

fn inspected(artifact: Artifact, attached: Vec<attachments::Attachment>, os: String) -> Inspected {
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
    let cluster = Description::from_artifact(&artifact.config.cluster);
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
    text.push_str(&table(["MACHINE", "LAYERS, LOWEST FIRST"], rows));
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
    text.push_str(&attachments::table_of(&artifact.attached));
    text
}
