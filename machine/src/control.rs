//! Machines that come to a running cluster, or leave it: asked of its supervisor at a socket in its directory.
//!
//! One line of JSON, a `Change`, is answered by one, a `Report` as at the supervisor's start. Changes are carried out one
//! after the other, each to its end even when whoever asked is gone: who asks next finds it done.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::handle::{Error, Running};
use crate::machine_set::Members;
use crate::plan::MachinePlan;
use crate::supervisor::{Report, chain};

/// The name of the socket in the plan's directory.
pub(crate) const SOCKET: &str = "supervisor.sock";
/// How long somebody who connects may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(5);
/// More bytes than any change takes: a machine's plan has its seeded files in it.
const LONGEST: u64 = 64 << 20;

/// What is to become of a cluster's machines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    /// These machines are to run too.
    Add(Vec<MachinePlan>),
    /// These are to run no more.
    Remove(Vec<String>),
}

impl Running {
    /// Boots more machines beside those of the plan directory `dir`, and waits until their inits run; all of them or
    /// none. Gives what runs then.
    ///
    /// # Errors
    /// What the supervisor says; nothing is left of them then, but their files. Or it does not answer.
    pub fn add(&self, dir: &Path, machines: Vec<MachinePlan>) -> Result<Self, Error> {
        ask(dir, &Change::Add(machines))
    }

    /// Powers machines of the plan directory `dir` off and removes what belongs to them but their files: cable, routes,
    /// namespaces, mounts, cgroups. Those that are not there count as removed. Gives what runs then.
    ///
    /// # Errors
    /// What the supervisor says: all is tried. Or it does not answer.
    pub fn remove(&self, dir: &Path, names: Vec<String>) -> Result<Self, Error> {
        // A supervisor of an older parbake listens nowhere and has none but those it began with.
        if !dir.join(SOCKET).exists() && names.iter().all(|name| !self.machines().contains_key(name)) {
            return Ok(self.clone());
        }
        ask(dir, &Change::Remove(names))
    }
}

fn ask(dir: &Path, change: &Change) -> Result<Running, Error> {
    let failed = |source| Error::Supervisor {
        act: "ask the cluster's supervisor for other machines; if an older parbake started it, restart the cluster",
        source,
    };
    let told = |dir: &Path| -> io::Result<Report> {
        let (path, _dir) = short_path(dir)?;
        let mut stream = UnixStream::connect(path)?;
        writeln!(stream, "{}", serde_json::to_string(change)?)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match told(dir).map_err(failed)? {
        Report::Running(state) => Ok(Running::of(state)),
        Report::Failed(reasons) => Err(Error::Refused(reasons)),
        Report::Paused | Report::Resumed(_) => Err(failed(io::ErrorKind::InvalidData.into())),
    }
}

/// The socket by a path that fits into an address (unix(7): 108 bytes), however long that of the directory is; good as
/// long as the file is open.
fn short_path(dir: &Path) -> io::Result<(PathBuf, File)> {
    let dir = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(SOCKET);
    Ok((path, dir))
}

/// Listens in `dir` from a thread of its own, which is as old as the machines that it boots: they end with it.
pub(crate) fn serve(dir: &Path, members: Arc<Members>) -> io::Result<()> {
    let (path, _dir) = short_path(dir)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = stream.and_then(|stream| answer(&stream, &members)) {
                tracing::warn!(%error, "could not answer who asked for a change");
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: &UnixStream, members: &Members) -> io::Result<()> {
    // The machines are root's, or whose the supervisor is.
    if socket_peercred(stream)?.uid != geteuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    let outcome = match serde_json::from_str(&line)? {
        Change::Add(machines) => members.add(&machines),
        Change::Remove(names) => members.remove(&names),
    };
    let report = match outcome {
        Ok(state) => Report::Running(state),
        Err(error) => Report::Failed(chain(&error)),
    };
    // Who asked may have been killed; the state file says the same.
    let _ = writeln!(stream, "{}", serde_json::to_string(&report)?);
    Ok(())
}
