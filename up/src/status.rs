//! A cluster at a glance: what it is doing and what it takes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use parbake_artifact::Digest;
use parbake_cluster::summary::{self, NodeSummary, PodSummary, Summary};
use parbake_cluster::{Node, Role, connect_file};
use parbake_machine::cgroup::Usage;
use parbake_machine::supervisor::Running;
use serde::Serialize;
use tokio::time::timeout;
use walkdir::WalkDir;

use crate::clusters::condition;
use crate::state::Swapped;
use crate::state::{Record, cluster_dir, own_kubeconfig, read};
use crate::{ClusterName, ClusterState, Error};

/// How long the API may take: whoever asks how a cluster is wants to know that it does not answer, too.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a block of a file counts (stat(2), `st_blocks`).
const BLOCK: u64 = 512;

/// A cluster at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: ClusterName,
    /// What it is doing.
    pub state: ClusterState,
    /// The artifact's name in the store when it was thawed.
    pub artifact: String,
    /// Digest of the artifact's manifest.
    pub digest: Digest,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// When it was made.
    pub created: Timestamp,
    /// What its machines take, if they run.
    #[serde(flatten)]
    pub usage: Option<ResourceUsage>,
    /// Bytes that its own files take on disk.
    pub disk_bytes: u64,
    /// Ports of the host that lead into it.
    pub ports: Vec<Port>,
    /// Whether it has a way to the outside when it runs.
    pub internet: bool,
    /// Programs that are not those that it came with.
    pub swapped: Vec<Swapped>,
    /// Why there is nothing of what the API has, where it should answer.
    pub problem: Option<String>,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its pods, as the API has them; none where it is not asked.
    pub pods: Vec<PodSummary>,
}

/// What processes take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResourceUsage {
    /// Bytes of memory that are charged to them, the page cache that they filled first included.
    pub memory_bytes: u64,
    /// Seconds of processor time since they were started.
    pub cpu_seconds: f64,
}

/// A port of the host that leads into a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Where the host listens.
    pub host: SocketAddr,
    /// Where that leads to.
    pub cluster: SocketAddr,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// As the API has it; never ready where that is not asked.
    #[serde(flatten)]
    pub node: NodeSummary,
    /// What its machine takes, if it runs.
    #[serde(flatten)]
    pub usage: Option<ResourceUsage>,
}

impl From<Usage> for ResourceUsage {
    fn from(usage: Usage) -> Self {
        Self {
            memory_bytes: usage.memory,
            cpu_seconds: usage.cpu.as_secs_f64(),
        }
    }
}

/// What a cluster's machines take, which is found without asking any of them; nothing where they do not run.
///
/// # Errors
/// There is none of this name, or its state is damaged.
pub fn usage(state: &Path, name: &ClusterName) -> Result<Option<ResourceUsage>, Error> {
    let dir = cluster_dir(state, name);
    let record = read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
    let (_, running) = condition(&dir, &record)?;
    Ok(running.and_then(|running| taken(&running, None)))
}

/// Looks at a cluster, in whatever state it is.
///
/// # Errors
/// There is none of this name, or its state is damaged.
pub async fn status(state: &Path, name: &ClusterName) -> Result<Status, Error> {
    let dir = cluster_dir(state, name);
    let record = read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
    let (condition, running) = condition(&dir, &record)?;
    let answers = matches!(
        condition,
        ClusterState::Starting | ClusterState::Running | ClusterState::Broken
    );
    let asked = match &running {
        Some(_) if answers => Some(ask(&dir).await),
        _ => None,
    };
    let (summary, problem) = match asked {
        Some(Ok(summary)) => (Some(summary), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let (nodes, pods) = match summary {
        Some(Summary { nodes, pods }) => (nodes, pods),
        None => (
            record
                .cluster
                .nodes()
                .iter()
                .map(|node| known(&record, node))
                .collect(),
            Vec::new(),
        ),
    };
    let running = running.as_ref();
    let nodes = nodes.into_iter().map(|node| NodeStatus {
        usage: running.and_then(|running| taken(running, Some(&node.name))),
        node,
    });
    Ok(Status {
        name: name.clone(),
        state: condition,
        artifact: record.tag.to_string(),
        digest: record.artifact.clone(),
        kubernetes: record.cluster.kubernetes().to_string(),
        created: record.created,
        usage: running.and_then(|running| taken(running, None)),
        disk_bytes: disk(&dir),
        ports: ports(&record, running),
        internet: record.internet,
        swapped: record.swapped.clone(),
        problem,
        nodes: nodes.collect(),
        pods,
    })
}

async fn ask(dir: &Path) -> Result<Summary, String> {
    let client = connect_file(&own_kubeconfig(dir)).await;
    let client = client.map_err(|error| error.to_string())?;
    match timeout(PATIENCE, summary::fetch(&client)).await {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(error)) => Err(error.line()),
        Err(_) => Err("the API does not answer".to_owned()),
    }
}

/// What is known of a node without asking the API.
fn known(record: &Record, node: &Node) -> NodeSummary {
    let role = match node.role {
        Role::ControlPlane => vec!["control-plane".to_owned()],
        Role::Worker => Vec::new(),
    };
    NodeSummary {
        name: node.name.to_string(),
        ready: false,
        roles: role,
        version: record.cluster.kubernetes().to_string(),
        address: node.address.to_string(),
    }
}

/// What the machine `name` takes, or all of them; nothing where the host does not count.
fn taken(running: &Running, name: Option<&str>) -> Option<ResourceUsage> {
    let all = &running.state().cgroup;
    let usage = match name {
        Some(name) => all.child(name).usage(),
        None => all.usage(),
    };
    usage.ok().map(ResourceUsage::from)
}

fn ports(record: &Record, running: Option<&Running>) -> Vec<Port> {
    let hosts = running.map(Running::ports).unwrap_or_default();
    let mut targets = running
        .map(|running| running.state().targets.clone())
        .unwrap_or_default();
    if targets.is_empty() {
        // A supervisor that says nothing knows only the way to the API.
        targets.push(record.cluster.api_server());
    }
    let ports = hosts.iter().zip(targets);
    ports
        .map(|(host, cluster)| Port { host: *host, cluster })
        .collect()
}

/// Files may vanish meanwhile, and one that has several names takes its room once.
fn disk(dir: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let entries = WalkDir::new(dir).same_file_system(true).into_iter().flatten();
    let found = entries.filter_map(|entry| entry.metadata().ok());
    let once = found.filter(|found| found.nlink() == 1 || found.is_dir() || seen.insert(found.ino()));
    once.map(|found| found.blocks() * BLOCK).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::disk;

    #[test]
    fn a_file_with_two_names_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let empty = disk(dir.path());
        fs::write(dir.path().join("a"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        fs::File::open(dir.path().join("a")).unwrap().sync_all().unwrap();
        let taken = disk(dir.path()) - empty;
        assert!(((1 << 20)..(3 << 19)).contains(&taken), "{taken}");
    }
}
