//! Clusters that were thawed: found, listed, entered, removed.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::{Digest, Store};
use parbake_cluster::{Client, connect_file};
use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::{Running, Stopped};
use serde::Serialize;

use crate::config::{self, Config};
use crate::events::{EventKind, Log};
use crate::host_ports;
use crate::kubeconfig::remove_context;
use crate::state::{ClusterLock, Phase, Record, cluster_dir, kubeconfig, read, read_existing};
use crate::{ClusterName, Error};

/// For how long a cluster may stand still because it is being frozen: whoever wants to enter it then waits.
const FREEZE: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(20);

/// What `list` shows of a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterListing {
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
pub enum ClusterState {
    /// It was never started.
    Created,
    /// A start is at work on it, or was killed.
    Starting,
    /// Its machines run.
    Running,
    /// Its machines stand still, and keep their memory.
    Paused,
    /// Its machines are being ended.
    Stopping,
    /// Its machines do not run, and keep their files.
    Stopped,
    /// A part of it is gone: one of its machines, or what holds them together.
    Broken,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Broken => "broken",
        })
    }
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
pub fn list(state: &Path) -> Result<Vec<ClusterListing>, Error> {
    let dir = state.join("clusters");
    let Ok(entries) = fs::read_dir(&dir) else {
        return Ok(Vec::new());
    };
    let mut clusters = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", &dir))?;
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

/// What the cluster in `dir` is doing, and its machines if they run.
pub(crate) fn condition(dir: &Path, record: &Record) -> Result<(ClusterState, Option<Running>), Error> {
    let running = Running::find(dir)?;
    let seen = match &running {
        None if Stopped::has_orphans(dir)? => Observed::Orphaned,
        None => Observed::Nothing,
        Some(running) if running.is_shutting_down() => Observed::Ending,
        // A host that cannot say has paused nothing.
        Some(running) if running.is_paused().unwrap_or_default() => Observed::Paused,
        Some(running) if running.all_alive() => Observed::Complete,
        Some(_) => Observed::Partial,
    };
    Ok((judge(record.phase, seen), running))
}

/// What the host has of a cluster.
#[derive(Debug, Clone, Copy)]
enum Observed {
    /// Nothing runs.
    Nothing,
    /// Processes of machines, but no supervisor that says what they are.
    Orphaned,
    /// A supervisor that ends its machines.
    Ending,
    /// Machines that stand still.
    Paused,
    /// All machines.
    Complete,
    /// Not all of them.
    Partial,
}

fn judge(phase: Phase, seen: Observed) -> ClusterState {
    match (phase, seen) {
        (_, Observed::Ending) => ClusterState::Stopping,
        (_, Observed::Paused) => ClusterState::Paused,
        (_, Observed::Partial) | (Phase::Up, Observed::Orphaned) => ClusterState::Broken,
        (Phase::Up, Observed::Complete) => ClusterState::Running,
        (Phase::Created, Observed::Nothing) => ClusterState::Created,
        (Phase::Up | Phase::Restarting, Observed::Nothing) => ClusterState::Stopped,
        // Machines on their way up are written down late.
        (Phase::Created | Phase::Restarting, Observed::Orphaned | Observed::Complete) => {
            ClusterState::Starting
        }
        (Phase::Starting, Observed::Nothing | Observed::Orphaned | Observed::Complete) => {
            ClusterState::Starting
        }
    }
}

fn listed(name: ClusterName, record: &Record, dir: &Path) -> Result<ClusterListing, Error> {
    let (state, running) = condition(dir, record)?;
    Ok(ClusterListing {
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
        .map(|name| read(&cluster_dir(state, &name)))
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
    crate::state::sweep_freezes(state)?;
    if !cluster_dir(state, name).exists() {
        return Err(Error::NotFound { name: name.clone() });
    }
    let claim = ClusterLock::acquire(state, name)?;
    remove_context(claim.dir(), name);
    claim.remove()?;
    Log::of(state, name).record(EventKind::Removed);
    Ok(())
}

impl Cluster {
    /// Finds a running cluster.
    ///
    /// # Errors
    /// There is none of this name, or it does not run, stands still or is about to end.
    pub fn find(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        let dir = cluster_dir(state, name);
        let record = read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
        let name = name.clone();
        let mut found = condition(&dir, &record)?;
        let deadline = Instant::now() + FREEZE;
        while found.0 == ClusterState::Paused && Instant::now() < deadline {
            thread::sleep(LOOK);
            found = condition(&dir, &record)?;
        }
        match found {
            (ClusterState::Paused, _) => Err(Error::Paused { name }),
            (ClusterState::Stopping, _) => Err(Error::Stopping { name }),
            (_, Some(running)) => Ok(Self { dir, record, running }),
            (_, None) => Err(Error::NotRunning { name }),
        }
    }

    /// What it is.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What it is, and its machines.
    pub(crate) fn into_parts(self) -> (Record, Running) {
        (self.record, self.running)
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

    /// Where the host reaches its registry.
    ///
    /// # Errors
    /// It was baked without one.
    pub fn registry(&self, name: &ClusterName) -> Result<SocketAddr, Error> {
        let found = host_ports::registry(&self.record.cluster, self.running.ports());
        found.ok_or_else(|| Error::NoRegistry { name: name.clone() })
    }

    /// The file with the administrator's way in.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.dir)
    }

    /// The same of a cluster that need not run, but has done so before.
    ///
    /// # Errors
    /// There is none of this name, or it was never started.
    pub fn find_kubeconfig(state: &Path, name: &ClusterName) -> Result<PathBuf, Error> {
        let dir = cluster_dir(state, name);
        read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
        let path = kubeconfig(&dir);
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::NotRunning { name: name.clone() })
        }
    }

    /// The effective configuration of a cluster, running or not.
    ///
    /// # Errors
    /// There is no such cluster, or its configuration file is invalid.
    pub fn find_config(state: &Path, name: &ClusterName) -> Result<Config, Error> {
        let record = read_existing(state, name)?;
        Ok(config::effective(
            &cluster_dir(state, name),
            record.cluster.nodes().len(),
        )?)
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
        kubectl(state, &self.record.layers, self.kubeconfig(), words)
    }
}

/// The kubectl of a cluster that is made of `layers`: the tag may mean another artifact by now.
pub(crate) fn kubectl(
    state: &Path,
    layers: &[Digest],
    kubeconfig: PathBuf,
    words: &[String],
) -> Result<Cmd, Error> {
    let store = Store::open(&state.join("store"))?;
    let layers = layers.iter().map(|digest| store.unpacked_path(digest));
    let program = layers
        .map(|layer| layer.join("usr/bin/kubectl"))
        .find(|path| path.is_file());
    let program = program.ok_or(Error::NoKubectl)?;
    // What it remembers of a cluster that is gone would pile up in the user's home.
    let memory = kubeconfig.with_file_name("kubectl");
    Ok(Cmd::new(program)
        .env("KUBECACHEDIR", memory)
        .env("KUBECONFIG", kubeconfig)
        .args(words))
}

#[cfg(test)]
mod tests {
    use super::{ClusterState, Observed, judge};
    use crate::Phase;

    #[test]
    fn what_was_wanted_and_what_is_there_make_a_state() {
        use ClusterState::{Broken, Created, Paused, Running, Starting, Stopped, Stopping};
        let seen = [
            Observed::Nothing,
            Observed::Orphaned,
            Observed::Ending,
            Observed::Paused,
            Observed::Partial,
            Observed::Complete,
        ];
        let cases = [
            (
                Phase::Created,
                [Created, Starting, Stopping, Paused, Broken, Starting],
            ),
            (
                Phase::Starting,
                [Starting, Starting, Stopping, Paused, Broken, Starting],
            ),
            (Phase::Up, [Stopped, Broken, Stopping, Paused, Broken, Running]),
            (
                Phase::Restarting,
                [Stopped, Starting, Stopping, Paused, Broken, Starting],
            ),
        ];
        for (phase, expected) in cases {
            assert_eq!(seen.map(|seen| judge(phase, seen)), expected, "{phase:?}");
        }
    }
}
