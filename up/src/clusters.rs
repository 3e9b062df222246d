//! The clusters of a state directory: list, find, remove.

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
use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::host_ports;
use crate::kubeconfig::remove_context;
use crate::name::ClusterName;
use crate::state::{
    ClusterLock, Phase, Record, admin_kubeconfig, cluster_dir, read, read_existing, restore_kubeconfig,
    sweep_freezes,
};

/// How long a freeze may pause a cluster. Commands that need the cluster wait that long for it.
const FREEZE_TIMEOUT: Duration = Duration::from_millis(1500);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A cluster in the output of `parbake list`.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterListing {
    pub name: ClusterName,
    pub state: ClusterState,
    /// The artifact's name in the store when the cluster was created.
    pub artifact: String,
    /// Digest of the artifact's manifest.
    pub digest: Digest,
    /// The version of Kubernetes.
    pub kubernetes: String,
    /// The number of nodes.
    pub nodes: usize,
    /// The host's address of the API.
    pub api: Option<SocketAddr>,
    pub created: Timestamp,
}

/// The state of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// It was never started.
    Created,
    /// A start is running, or was killed.
    Starting,
    /// Its machines run.
    Running,
    /// Its machines are paused and keep their memory.
    Paused,
    /// Its machines are being stopped.
    Stopping,
    /// Its machines do not run. They keep their files.
    Stopped,
    /// A machine or the supervisor has died.
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

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    record: Record,
    running: Running,
}

/// All clusters of the state directory, by name.
///
/// # Errors
/// A directory cannot be read, or the state of a cluster is damaged.
pub fn list(state: &Path) -> Result<Vec<ClusterListing>, Error> {
    let mut clusters = Vec::new();
    for (name, dir, record) in records(state)? {
        clusters.push(listing(name, &record, &dir)?);
    }
    Ok(clusters)
}

/// Name, directory and record of all clusters, by name.
fn records(state: &Path) -> Result<Vec<(ClusterName, PathBuf, Record)>, Error> {
    let dir = state.join("clusters");
    let Ok(entries) = fs::read_dir(&dir) else {
        return Ok(Vec::new());
    };
    let mut records = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", &dir))?;
        let Some(name) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<ClusterName>().ok())
        else {
            continue;
        };
        if let Some(record) = read(&entry.path())? {
            records.push((name, entry.path(), record));
        }
    }
    records.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Ok(records)
}

fn listing(name: ClusterName, record: &Record, dir: &Path) -> Result<ClusterListing, Error> {
    let (state, running) = cluster_state(dir, record)?;
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

/// Digests of all layers and manifests that clusters use.
///
/// # Errors
/// See [`list`].
pub fn layers_in_use(state: &Path) -> Result<Vec<Digest>, Error> {
    let records = records(state)?.into_iter();
    Ok(records
        .flat_map(|(.., record)| record.layers.into_iter().chain([record.artifact]))
        .collect())
}

/// The state of the cluster in `dir`, and its machines if they run.
pub(crate) fn cluster_state(dir: &Path, record: &Record) -> Result<(ClusterState, Option<Running>), Error> {
    let running = Running::find(dir)?;
    let observed = match &running {
        None if Stopped::has_orphans(dir)? => Observed::Orphaned,
        None => Observed::Nothing,
        Some(running) if running.is_shutting_down() => Observed::Ending,
        // A host that cannot tell cannot pause either.
        Some(running) if running.is_paused().unwrap_or_default() => Observed::Paused,
        Some(running) if running.all_alive() => Observed::Complete,
        Some(_) => Observed::Partial,
    };
    Ok((state_of(record.phase, observed), running))
}

/// What the host has of a cluster.
#[derive(Debug, Clone, Copy)]
enum Observed {
    Nothing,
    /// Processes of machines without a supervisor.
    Orphaned,
    /// A supervisor that stops its machines.
    Ending,
    Paused,
    /// All machines run.
    Complete,
    /// Only some of the machines run.
    Partial,
}

fn state_of(phase: Phase, observed: Observed) -> ClusterState {
    match (phase, observed) {
        (_, Observed::Ending) => ClusterState::Stopping,
        (_, Observed::Paused) => ClusterState::Paused,
        (_, Observed::Partial) | (Phase::Up, Observed::Orphaned) => ClusterState::Broken,
        (Phase::Up, Observed::Complete) => ClusterState::Running,
        (Phase::Created, Observed::Nothing) => ClusterState::Created,
        (Phase::Up | Phase::Restarting, Observed::Nothing) => ClusterState::Stopped,
        // The supervisor writes its state only once the machines are up.
        (Phase::Created | Phase::Restarting, Observed::Orphaned | Observed::Complete) => {
            ClusterState::Starting
        }
        (Phase::Starting, Observed::Nothing | Observed::Orphaned | Observed::Complete) => {
            ClusterState::Starting
        }
    }
}

/// Ends a cluster and removes everything that is left of it.
///
/// # Errors
/// There is no such cluster, another command works on it, or something could not be removed.
pub fn down(state: &Path, name: &ClusterName) -> Result<(), Error> {
    sweep_freezes(state)?;
    // Without a record, too: the remains of an interrupted command.
    if !cluster_dir(state, name).exists() {
        return Err(Error::NotFound { name: name.clone() });
    }
    let lock = ClusterLock::acquire(state, name)?;
    remove_context(lock.dir(), name);
    lock.remove()?;
    Log::of(state, name).record(EventKind::Removed);
    Ok(())
}

impl Cluster {
    /// Finds a running cluster.
    ///
    /// # Errors
    /// There is no such cluster, or it is not running, paused or being stopped.
    pub fn find(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        let dir = cluster_dir(state, name);
        let record = read_existing(state, name)?;
        let name = name.clone();
        let mut found = cluster_state(&dir, &record)?;
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        while found.0 == ClusterState::Paused && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
            found = cluster_state(&dir, &record)?;
        }
        match found {
            (ClusterState::Paused, _) => Err(Error::Paused { name }),
            (ClusterState::Stopping, _) => Err(Error::Stopping { name }),
            (_, Some(running)) => Ok(Self { dir, record, running }),
            (_, None) => Err(Error::NotRunning { name }),
        }
    }

    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn into_parts(self) -> (Record, Running) {
        (self.record, self.running)
    }

    /// The cluster's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The machines.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The host's address of the API.
    pub fn api(&self) -> Option<SocketAddr> {
        self.running.ports().first().copied()
    }

    /// The host's address of the registry.
    ///
    /// # Errors
    /// The cluster was baked without one.
    pub fn registry(&self, name: &ClusterName) -> Result<SocketAddr, Error> {
        let found = host_ports::registry(&self.record.cluster, self.running.ports());
        found.ok_or_else(|| Error::NoRegistry { name: name.clone() })
    }

    /// The path of the administrator's kubeconfig of a cluster that has been started before, running or not.
    ///
    /// # Errors
    /// There is no such cluster, or it was never started.
    pub fn find_kubeconfig(state: &Path, name: &ClusterName) -> Result<PathBuf, Error> {
        read_existing(state, name)?;
        let path = restore_kubeconfig(&cluster_dir(state, name))?;
        path.ok_or_else(|| Error::NotRunning { name: name.clone() })
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

    /// A client of the API, with the administrator's rights.
    ///
    /// # Errors
    /// The kubeconfig cannot be read or used.
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(connect_file(&admin_kubeconfig(&self.dir)).await?)
    }

    /// The command `words`, run as root on the node `node`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn command(&self, node: &str, words: &[String]) -> Result<Cmd, Error> {
        Ok(self.running.command(node, words)?)
    }

    /// The cluster's own kubectl with the administrator's kubeconfig, run on the host.
    ///
    /// # Errors
    /// The artifact contains no kubectl.
    pub fn kubectl(&self, state: &Path, words: &[String]) -> Result<Cmd, Error> {
        let kubeconfig = restore_kubeconfig(&self.dir)?.unwrap_or_else(|| admin_kubeconfig(&self.dir));
        kubectl(state, &self.record.layers, kubeconfig, words)
    }
}

/// The kubectl in one of `layers`. The artifact's name does not help: it may refer to another artifact now.
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
    // In the user's home, the caches of removed clusters would pile up.
    let cache = kubeconfig.with_file_name("kubectl");
    let mut kubectl = Cmd::new(program);
    // `KUBECONFIG` is a list of paths.
    if kubeconfig.as_os_str().as_encoded_bytes().contains(&b':') {
        kubectl = kubectl.arg("--kubeconfig").arg(&kubeconfig);
    }
    Ok(kubectl
        .env("KUBECACHEDIR", cache)
        .env("KUBECONFIG", kubeconfig)
        .args(words))
}

#[cfg(test)]
mod tests {
    use super::{ClusterState, Observed, state_of};
    use crate::Phase;

    #[test]
    fn state_follows_from_phase_and_host() {
        use ClusterState::{Broken, Created, Paused, Running, Starting, Stopped, Stopping};
        let observed = [
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
            assert_eq!(
                observed.map(|observed| state_of(phase, observed)),
                expected,
                "{phase:?}"
            );
        }
    }
}
