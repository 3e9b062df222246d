//! The status of one cluster: its state, resource usage, nodes and pods.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use parbake_artifact::Digest;
use parbake_cluster::api::summary::{self, NodeSummary, PodSummary, Summary};
use parbake_cluster::{Node, Role, connect_file};
use parbake_machine::cgroup::Usage;
use parbake_machine::supervisor::Running;
use serde::Serialize;
use tokio::time::timeout;
use walkdir::WalkDir;

use crate::clusters::{ClusterState, cluster_state};
use crate::error::Error;
use crate::name::ClusterName;
use crate::state::{Record, Swapped, cluster_dir, own_kubeconfig, read_existing};

/// How long the API may take. Short, because a status without the API is useful, too.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// The unit of `st_blocks` (stat(2)), in bytes.
const BLOCK: u64 = 512;

/// The status of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub name: ClusterName,
    pub state: ClusterState,
    /// The artifact's name in the store when the cluster was created.
    pub artifact: String,
    /// Digest of the artifact's manifest.
    pub digest: Digest,
    /// The version of Kubernetes.
    pub kubernetes: String,
    pub created: Timestamp,
    /// `None` if the machines do not run.
    #[serde(flatten)]
    pub usage: Option<ResourceUsage>,
    /// Disk usage of the cluster's own files.
    pub disk_bytes: u64,
    /// Ports of the host that lead into the cluster.
    pub ports: Vec<Port>,
    /// True if it reaches other networks while it runs.
    pub internet: bool,
    /// Programs that were replaced since the thaw.
    pub swapped: Vec<Swapped>,
    /// Why the API gave no nodes and pods although it should answer.
    pub problem: Option<String>,
    pub nodes: Vec<NodeStatus>,
    /// Empty if the API did not answer.
    pub pods: Vec<PodSummary>,
}

/// What processes use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResourceUsage {
    /// Memory, including the page cache that is charged to the processes.
    pub memory_bytes: u64,
    /// CPU time since they were started.
    pub cpu_seconds: f64,
}

/// A port of the host that leads into a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The host's address.
    pub host: SocketAddr,
    /// The target.
    pub cluster: SocketAddr,
}

/// The status of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// From the API. If that did not answer, from the cluster's record, and not ready.
    #[serde(flatten)]
    pub node: NodeSummary,
    /// `None` if the machine does not run.
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

/// What all machines of a cluster use, according to the host; `None` if they do not run.
///
/// # Errors
/// There is no such cluster, or its state is damaged.
pub fn usage(state: &Path, name: &ClusterName) -> Result<Option<ResourceUsage>, Error> {
    let record = read_existing(state, name)?;
    let (_, running) = cluster_state(&cluster_dir(state, name), &record)?;
    Ok(running.and_then(|running| usage_of(&running, None)))
}

/// The status of a cluster in any state.
///
/// # Errors
/// There is no such cluster, or its state is damaged.
pub async fn status(state: &Path, name: &ClusterName) -> Result<Status, Error> {
    let dir = cluster_dir(state, name);
    let record = read_existing(state, name)?;
    let (state, running) = cluster_state(&dir, &record)?;
    let should_answer = matches!(
        state,
        ClusterState::Starting | ClusterState::Running | ClusterState::Broken
    );
    let (summary, problem) = match running.is_some() && should_answer {
        true => match fetch_summary(&dir).await {
            Ok(summary) => (Some(summary), None),
            Err(problem) => (None, Some(problem)),
        },
        false => (None, None),
    };
    let Summary { nodes, pods } = summary.unwrap_or_else(|| recorded(&record));
    let running = running.as_ref();
    let nodes = nodes.into_iter().map(|node| NodeStatus {
        usage: running.and_then(|running| usage_of(running, Some(&node.name))),
        node,
    });
    Ok(Status {
        name: name.clone(),
        state,
        artifact: record.tag.to_string(),
        digest: record.artifact.clone(),
        kubernetes: record.cluster.kubernetes().to_string(),
        created: record.created,
        usage: running.and_then(|running| usage_of(running, None)),
        disk_bytes: disk_usage(&dir),
        ports: ports(&record, running),
        internet: record.internet,
        swapped: record.swapped.clone(),
        problem,
        nodes: nodes.collect(),
        pods,
    })
}

/// Nodes and pods according to the API, or one line about why it gave none.
async fn fetch_summary(dir: &Path) -> Result<Summary, String> {
    let client = connect_file(&own_kubeconfig(dir)).await;
    let client = client.map_err(|error| error.to_string())?;
    match timeout(API_TIMEOUT, summary::fetch(&client)).await {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(error)) => Err(error.line()),
        Err(_) => Err("the API does not answer".to_owned()),
    }
}

/// The nodes according to the cluster's record.
fn recorded(record: &Record) -> Summary {
    let summary = |node: &Node| NodeSummary {
        name: node.name.to_string(),
        ready: false,
        roles: match node.role {
            Role::ControlPlane => vec!["control-plane".to_owned()],
            Role::Worker => Vec::new(),
        },
        version: record.cluster.kubernetes().to_string(),
        address: node.address.to_string(),
    };
    Summary {
        nodes: record.cluster.nodes().iter().map(summary).collect(),
        pods: Vec::new(),
    }
}

/// What the machine `name` uses, or all of them; `None` if the host does not count it.
fn usage_of(running: &Running, name: Option<&str>) -> Option<ResourceUsage> {
    let cluster = &running.state().cgroup;
    let usage = match name {
        Some(name) => cluster.child(name).usage(),
        None => cluster.usage(),
    };
    usage.ok().map(ResourceUsage::from)
}

fn ports(record: &Record, running: Option<&Running>) -> Vec<Port> {
    let hosts = running.map(Running::ports).unwrap_or_default();
    let mut targets = running
        .map(|running| running.state().targets.clone())
        .unwrap_or_default();
    if targets.is_empty() {
        // Old supervisors do not tell the targets, and have only the port of the API.
        targets.push(record.cluster.api_server());
    }
    let ports = hosts.iter().zip(targets);
    ports
        .map(|(host, cluster)| Port { host: *host, cluster })
        .collect()
}

/// Disk usage of the files in `dir`. Hard links count once, and files may vanish meanwhile.
fn disk_usage(dir: &Path) -> u64 {
    let mut linked = BTreeSet::new();
    let entries = WalkDir::new(dir).same_file_system(true).into_iter().flatten();
    let found = entries.filter_map(|entry| entry.metadata().ok());
    let once = found.filter(|found| found.nlink() == 1 || found.is_dir() || linked.insert(found.ino()));
    once.map(|found| found.blocks() * BLOCK).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::disk_usage;

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let empty = disk_usage(dir.path());
        fs::write(dir.path().join("a"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        fs::File::open(dir.path().join("a")).unwrap().sync_all().unwrap();
        let used = disk_usage(dir.path()) - empty;
        assert!(((1 << 20)..(3 << 19)).contains(&used), "{used}");
    }
}
