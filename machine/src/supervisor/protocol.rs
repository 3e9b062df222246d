//! What a supervisor and its clients exchange, and the files that it leaves in the plan's directory.
//!
//! A supervisor reads one [`Request`] from standard input, as a line of JSON, and answers with [`Response`]s on standard
//! output. While it runs, it takes [`Change`]s at a socket, which it answers with a [`Response`] as well.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cgroup::Cgroup;
use crate::fs::files;
use crate::plan::{MachinePlan, Plan};
use crate::process::ProcessId;
use crate::timing::Span;

/// The state file: a [`State`].
pub(super) const STATE: &str = "supervisor.json";
/// Names the cgroup to clean up after a supervisor was killed. Written before the cgroup is created.
pub(super) const CGROUP: &str = "cgroup.json";
/// The socket for changes.
pub(super) const SOCKET: &str = "supervisor.sock";
/// The supervisor's log in the plan's directory.
pub const LOG: &str = "supervisor.log";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Run the plan's machines until they end.
    Run(Box<Plan>),
    /// Wait for the end of standard input, then kill everything in the cgroup. systemd-nspawn does not end its machine
    /// when it is killed, so a second process has to clean up after a supervisor that was killed.
    Sweep(Cgroup),
    /// Freeze the cgroup until the end of standard input, so that it is thawed even if the client is killed.
    Pause(Cgroup),
}

/// A change of the set of machines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    Add(Vec<MachinePlan>),
    /// The names of the machines to remove.
    Remove(Vec<String>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Response {
    /// Every machine's init runs.
    Running(State),
    /// The error and its causes, outermost first; everything was undone.
    Failed(Vec<String>),
    Paused,
    /// The machines run again, after this time.
    Resumed(Duration),
}

/// The running machines and what belongs to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub supervisor: ProcessId,
    /// The machines' init processes by name.
    pub machines: BTreeMap<String, ProcessId>,
    /// Where the host listens, in the order of the plan's forwards.
    pub ports: Vec<SocketAddr>,
    /// Where those ports lead inside the cluster; absent from the state of older supervisors.
    #[serde(default)]
    pub targets: Vec<SocketAddr>,
    /// The cluster's cgroup.
    pub cgroup: Cgroup,
    /// Directories that machines keep in memory, by machine name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_memory: BTreeMap<String, Vec<PathBuf>>,
    /// How long the steps of the start took.
    #[serde(default)]
    pub spans: Vec<Span>,
    /// The supervisor is shutting the machines down.
    #[serde(default, rename = "ending")]
    pub shutting_down: bool,
}

impl From<Result<State, Error>> for Response {
    fn from(outcome: Result<State, Error>) -> Self {
        match outcome {
            Ok(state) => Self::Running(state),
            Err(error) => Self::Failed(error.chain()),
        }
    }
}

/// Reads a file of the supervisor's; `None` where it does not exist.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(crate::error::failed(format!(
        "read the supervisor's state `{}`",
        path.display()
    )))
}

/// Writes a file of the supervisor's.
pub(super) fn write(path: &Path, content: &impl Serialize) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        files::replace(path, serde_json::to_string_pretty(content)?.as_bytes(), 0o644)
    };
    write().map_err(files::failed("write", path))
}

/// Removes all files of the supervisor's but its log.
pub(super) fn remove_files(dir: &Path) {
    for file in [STATE, CGROUP, SOCKET] {
        let _ = fs::remove_file(dir.join(file));
    }
}
