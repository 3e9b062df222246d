//! `parbake artifact`

use std::collections::BTreeSet;

use parbake_artifact::{Artifact, Reference, Store, Tag};
use parbake_up::layers_in_use;
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, size, table};

/// Look after the artifacts in the local store: frozen clusters
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List all artifacts
    List,
    /// Show what an artifact consists of
    Inspect(Args),
    /// Read the whole of an artifact and check it against its digests
    Verify(Args),
    /// Remove an artifact, and what no other one and no cluster needs of it
    Remove(Args),
}

/// The artifact that is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    tag: Tag,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Listed {
    tag: Tag,
    /// What is wrong with it, if it cannot be used; nothing else is known then.
    problem: Option<String>,
    provider: Option<String>,
    machines: Option<usize>,
    created: Option<String>,
    size_bytes: Option<u64>,
    digest: Option<String>,
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
    /// The version of parbake that froze it.
    parbake: String,
    size_bytes: u64,
    /// Secrets of its users that it holds, where they were counted.
    secrets: Option<u64>,
    machines: Vec<InspectedMachine>,
    layers: Vec<InspectedLayer>,
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

#[derive(Debug, Serialize)]
struct Verified {
    tag: Tag,
    blobs: usize,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Removed {
    tag: Tag,
    freed_bytes: u64,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut store = Store::open(&global.store())?;
        match self {
            Self::List => {
                let artifacts = store
                    .list()?
                    .into_iter()
                    .map(|found| listed(found.tag, found.artifact));
                output::print(global.output, &artifacts.collect::<Vec<_>>(), |list| {
                    list_text(list)
                })
            }
            Self::Inspect(Args { tag }) => {
                output::print(global.output, &inspected(store.get(&tag)?), inspected_text)
            }
            Self::Verify(Args { tag }) => {
                let parbake_artifact::Verified { blobs, bytes } = store.verify(&tag)?;
                output::print(global.output, &Verified { tag, blobs, bytes }, |verified| {
                    format!("`{}` is sound: {blobs} blobs, {}\n", verified.tag, size(bytes))
                })
            }
            Self::Remove(Args { tag }) => {
                store.remove(&tag)?;
                let keep: BTreeSet<_> = layers_in_use(&global.dir)?.into_iter().collect();
                let removed = Removed {
                    tag,
                    freed_bytes: store.sweep(&keep)?.bytes,
                };
                output::print(global.output, &removed, |removed| {
                    format!("removed `{}`, {} freed\n", removed.tag, size(removed.freed_bytes))
                })
            }
        }
    }
}

fn listed(tag: Tag, artifact: Result<Artifact, parbake_artifact::StoreError>) -> Listed {
    match artifact {
        Ok(artifact) => Listed {
            tag,
            problem: None,
            machines: Some(artifact.config.machines.len()),
            created: Some(artifact.config.created.to_string()),
            size_bytes: Some(artifact.size()),
            digest: Some(artifact.digest.to_string()),
            provider: Some(artifact.config.provider),
        },
        Err(error) => Listed {
            tag,
            problem: Some(format!("{:#}", anyhow::Error::new(error))),
            provider: None,
            machines: None,
            created: None,
            size_bytes: None,
            digest: None,
        },
    }
}

fn list_text(list: &[Listed]) -> String {
    if list.is_empty() {
        return "no artifacts: make one with `parbake provision`\n".to_owned();
    }
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = list.iter().map(|artifact| {
        [
            artifact.tag.to_string(),
            cell(artifact.provider.clone()),
            cell(artifact.machines.map(|count| count.to_string())),
            cell(artifact.size_bytes.map(size)),
            cell(artifact.created.clone()),
            artifact
                .problem
                .clone()
                .unwrap_or_else(|| cell(artifact.digest.clone())),
        ]
    });
    table(["TAG", "PROVIDER", "MACHINES", "SIZE", "CREATED", "DIGEST"], rows)
}

fn inspected(artifact: Artifact) -> Inspected {
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
    Inspected {
        digest: artifact.digest.to_string(),
        created: artifact.config.created.to_string(),
        size_bytes: artifact.size(),
        secrets: artifact.secrets,
        machines: machines.collect(),
        layers: layers.collect(),
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
        "artifact    {}\ndigest      {}\nprovider    {}\ncreated     {} by parbake {}\nsize        {}\nsecrets     {}\n\n",
        artifact.tag,
        artifact.digest,
        artifact.provider,
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
    text
}
