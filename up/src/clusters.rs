//! Clusters that were thawed: found, listed, entered, removed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parbake_artifact::{Digest, Store};
use parbake_cluster::{Client, connect_file};
use parbake_machine::process::Cmd;
use parbake_machine::running::Running;
use serde::Serialize;

use crate::freeze;
use crate::kubeconfig::take_out;
use crate::state::{Claim, Phase, Record, dir_of, files, kubeconfig, read};
use crate::{ClusterName, Error};

/// What `list` shows of a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: ClusterName,
    /// What it is doing.
    pub state: Condition,
    /// The artifact's name in the store when it was thawed.
    pub artifact: String,
    /// Digest of the artifact's manifest.
    pub digest: Digest,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// Where the host reaches its API.
    pub api: Option<SocketAddr>,
    /// When it was made.
    pub created: Timestamp,
}

/// What a cluster is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// `up` is at work on it, or was killed.
    Starting,
    /// Its machines run.
    Running,
    /// Its machines do not run.
    Stopped,
}

/// A cluster whose machines run.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    record: Record,
    running: Running,
}

/// All clusters below the state directory, by name.
///
/// # Errors
/// A directory that cannot be read, or a damaged state.
pub fn list(state: &Path) -> Result<Vec<Listed>, Error> {
    let dir = state.join("clusters");
    let Ok(entries) = fs::read_dir(&dir) else {
        return Ok(Vec::new());
    };
    let mut clusters = Vec::new();
    for entry in entries {
        let entry = entry.map_err(files("read", &dir))?;
        let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(record) = read(&entry.path())? {
            clusters.push(listed(name, &record, &entry.path())?);
        }
    }
    clusters.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(clusters)
}

fn listed(name: ClusterName, record: &Record, dir: &Path) -> Result<Listed, Error> {
    let running = Running::find(dir)?;
    let state = match (record.phase, &running) {
        (Phase::Starting, _) => Condition::Starting,
        (Phase::Up, Some(_)) => Condition::Running,
        (Phase::Up, None) => Condition::Stopped,
    };
    Ok(Listed {
        name,
        state,
        artifact: record.tag.to_string(),
        digest: record.artifact.clone(),
        kubernetes: record.cluster.kubernetes().to_string(),
        nodes: record.cluster.nodes().len(),
        api: running.and_then(|running| running.ports().first().copied()),
        created: record.created,
    })
}

/// Digests of all layers that clusters below the state directory use, and of the manifests they came with.
///
/// # Errors
/// See [`list`].
pub fn layers_in_use(state: &Path) -> Result<Vec<Digest>, Error> {
    let names = list(state)?.into_iter().map(|cluster| cluster.name);
    let records = names
        .map(|name| read(&dir_of(state, &name)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(records
        .into_iter()
        .flatten()
        .flat_map(|record| record.layers.into_iter().chain([record.artifact]))
        .collect())
}

/// Ends a cluster and removes all that is left of it.
///
/// # Errors
/// There is none of this name, another command works on it, or something could not be removed.
pub fn down(state: &Path, name: &ClusterName) -> Result<(), Error> {
    freeze::sweep(state)?;
    if !dir_of(state, name).exists() {
        return Err(Error::NotFound { name: name.clone() });
    }
    let claim = Claim::lock(state, name)?;
    take_out(claim.dir(), name);
    claim.remove()
}

impl Cluster {
    /// Finds a running cluster.
    ///
    /// # Errors
    /// There is none of this name, or it does not run.
    pub fn find(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        let dir = dir_of(state, name);
        let record = read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
        let running = Running::find(&dir)?.ok_or_else(|| Error::NotRunning { name: name.clone() })?;
        Ok(Self { dir, record, running })
    }

    /// What it is.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The directory that it owns.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its machines.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Where the host reaches its API.
    pub fn api(&self) -> Option<SocketAddr> {
        self.running.ports().first().copied()
    }

    /// The file with the administrator's way in.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.dir)
    }

    /// A client of its API, as the administrator.
    ///
    /// # Errors
    /// The kubeconfig cannot be read or used.
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(connect_file(&self.kubeconfig()).await?)
    }

    /// The command that runs `words` on the node `node`, as root.
    ///
    /// # Errors
    /// There is no such node.
    pub fn on(&self, node: &str, words: &[String]) -> Result<Cmd, Error> {
        Ok(self.running.command(node, words)?)
    }

    /// The cluster's own kubectl, on the host, with its kubeconfig.
    ///
    /// # Errors
    /// The store has no layer with a kubectl in it.
    pub fn kubectl(&self, state: &Path, words: &[String]) -> Result<Cmd, Error> {
        // By the layers in use: the tag may mean another artifact by now.
        let store = Store::open(&state.join("store"))?;
        let layers = self
            .record
            .layers
            .iter()
            .map(|digest| store.unpacked_path(digest));
        let program = layers
            .map(|layer| layer.join("usr/bin/kubectl"))
            .find(|path| path.is_file());
        let program = program.ok_or(Error::NoKubectl)?;
        let kubeconfig = self.kubeconfig();
        // What it remembers of a cluster that is gone would pile up in the user's home.
        let memory = kubeconfig.with_file_name("kubectl");
        Ok(Cmd::new(program)
            .env("KUBECACHEDIR", memory)
            .env("KUBECONFIG", kubeconfig)
            .args(words))
    }
}
