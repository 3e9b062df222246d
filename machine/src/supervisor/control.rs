//! Adding and removing machines of a running cluster, through a socket of its supervisor.
//!
//! Changes are carried out one after the other, and completely even if the client is killed: the next one finds it done.

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

use super::client::Running;
use super::machine_set::MachineSet;
use super::protocol::{Change, Response, SOCKET};
use crate::error::{Error, failed};
use crate::plan::MachinePlan;

/// How long a client may take to send its request.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a request: a machine's plan holds its seeded files.
const MAX_REQUEST: u64 = 64 << 20;

impl Running {
    /// Boots more machines beside those of the plan directory `dir` and waits until their inits run. Either all of them are
    /// added, or none.
    ///
    /// # Errors
    /// The supervisor's error; only files are left of the new machines. Or the supervisor does not answer.
    pub fn add(&self, dir: &Path, machines: Vec<MachinePlan>) -> Result<Self, Error> {
        let machines = machines
            .iter()
            .map(MachinePlan::absolute)
            .collect::<io::Result<_>>();
        request(
            dir,
            &Change::Add(machines.map_err(failed("find the current directory"))?),
        )
    }

    /// Powers machines of the plan directory `dir` off and removes everything that belongs to them but their files.
    /// Machines that do not exist count as removed.
    ///
    /// # Errors
    /// The supervisor's error, after it tried everything. Or the supervisor does not answer.
    pub fn remove(&self, dir: &Path, names: Vec<String>) -> Result<Self, Error> {
        // A supervisor of an older parbake has no socket and only the machines that it started with.
        if !dir.join(SOCKET).exists() && names.iter().all(|name| !self.machines().contains_key(name)) {
            return Ok(self.clone());
        }
        request(dir, &Change::Remove(names))
    }
}

fn request(dir: &Path, change: &Change) -> Result<Running, Error> {
    let act =
        "change the cluster's machines; if an older parbake started the cluster, run `parbake restart` first";
    let exchange = || -> io::Result<Response> {
        let (path, _dir) = short_path(dir)?;
        let mut stream = UnixStream::connect(path)?;
        writeln!(stream, "{}", serde_json::to_string(change)?)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match exchange().map_err(failed(act))? {
        Response::Running(state) => Ok(Running { state }),
        Response::Failed(reasons) => Err(Error::Supervisor(reasons)),
        Response::Paused | Response::Resumed(_) => {
            Err(failed(act)(io::Error::from(io::ErrorKind::InvalidData)))
        }
    }
}

/// A path of the socket that fits into an address (unix(7): 108 bytes), however long the directory's own path is. Valid as
/// long as the returned file is open.
fn short_path(dir: &Path) -> io::Result<(PathBuf, File)> {
    let dir = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(SOCKET);
    Ok((path, dir))
}

/// Listens in `dir` from a new thread, which lives as long as the machines that it boots: they end with the thread that
/// started them.
pub(super) fn serve(dir: &Path, machines: Arc<MachineSet>) -> io::Result<()> {
    let (path, _dir) = short_path(dir)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = stream.and_then(|stream| answer(&stream, &machines)) {
                tracing::warn!(%error, "could not answer a request for a change");
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: &UnixStream, machines: &MachineSet) -> io::Result<()> {
    if socket_peercred(stream)?.uid != geteuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line)?;
    let outcome = match serde_json::from_str(&line)? {
        Change::Add(plans) => machines.add(&plans),
        Change::Remove(names) => machines.remove(&names),
    };
    // The client may have been killed; the state file holds the same.
    let _ = writeln!(stream, "{}", serde_json::to_string(&Response::from(outcome))?);
    Ok(())
}
