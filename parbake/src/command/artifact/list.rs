//! `parbake artifact list`

use jiff::Timestamp;
use parbake_artifact::{Artifact, Inventory, Store, StoreError, Tag};
use parbake_up::{ClusterName, list};
use serde::Serialize;

use super::names;
use crate::args::GlobalArgs;
use crate::output::{self, ago, size, table};

/// List all artifacts with their disk usage and when they were last used
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Debug, Serialize)]
struct Listed {
    tag: Tag,
    /// Why it cannot be used; little else is known then.
    problem: Option<String>,
    provider: Option<String>,
    machines: Option<usize>,
    created: Option<String>,
    /// Size in a registry.
    size_bytes: Option<u64>,
    /// Disk usage: blobs and unpacked layers.
    disk_bytes: u64,
    /// The part that no other artifact needs.
    own_bytes: u64,
    shared_with: Vec<Tag>,
    /// When it was last baked, pulled or started.
    last_used: Option<Timestamp>,
    /// Existing clusters that were started from it.
    clusters: Vec<ClusterName>,
    digest: Option<String>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, store: &Store) -> anyhow::Result<()> {
        let inventory = store.inventory()?;
        let clusters = list(&global.dir)?;
        let mut lines = Vec::new();
        for found in store.list()? {
            let last_used = store.last_used(&found.tag)?;
            let mut line = listed(found.tag, found.artifact, &inventory);
            line.last_used = last_used;
            line.clusters = clusters
                .iter()
                .filter(|cluster| line.digest.as_deref() == Some(cluster.digest.as_str()))
                .map(|cluster| cluster.name.clone())
                .collect();
            lines.push(line);
        }
        output::print(global.output, &lines, |lines| text(lines, Timestamp::now()))
    }
}

fn listed(tag: Tag, artifact: Result<Artifact, StoreError>, inventory: &Inventory) -> Listed {
    let share = inventory.share(&tag);
    let mut line = Listed {
        tag,
        problem: None,
        provider: None,
        machines: None,
        created: None,
        size_bytes: None,
        disk_bytes: share.bytes,
        own_bytes: share.own,
        shared_with: share.shared_with,
        last_used: None,
        clusters: Vec::new(),
        digest: None,
    };
    match artifact {
        Ok(artifact) => {
            line.machines = Some(artifact.config.machines.len());
            line.created = Some(artifact.config.created.to_string());
            line.size_bytes = Some(artifact.size());
            line.digest = Some(artifact.digest.to_string());
            line.provider = Some(artifact.config.provider);
        }
        Err(error) => line.problem = Some(format!("{:#}", anyhow::Error::new(error))),
    }
    line
}

fn text(list: &[Listed], now: Timestamp) -> String {
    if list.is_empty() {
        return "no artifacts: make one with `parbake provision`\n".to_owned();
    }
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = list.iter().map(|line| {
        let clusters: Vec<_> = line.clusters.iter().map(ClusterName::to_string).collect();
        [
            line.tag.to_string(),
            cell(line.machines.map(|count| count.to_string())),
            cell(line.size_bytes.map(size)),
            size(line.disk_bytes),
            size(line.own_bytes),
            names(&line.shared_with),
            cell(line.last_used.map(|time| ago(time, now))),
            cell((!clusters.is_empty()).then(|| clusters.join(", "))),
            line.problem.clone().unwrap_or_else(|| cell(short(line))),
        ]
    });
    let header = [
        "TAG",
        "MACHINES",
        "SIZE",
        "ON DISK",
        "NOT SHARED",
        "SHARED WITH",
        "LAST USED",
        "CLUSTERS",
        "DIGEST",
    ];
    table(header, rows)
}

/// The beginning of the digest; `inspect` shows all of it.
fn short(line: &Listed) -> Option<String> {
    let digest = line.digest.as_deref()?;
    Some(digest.chars().take("sha256:".len() + 12).collect())
}
