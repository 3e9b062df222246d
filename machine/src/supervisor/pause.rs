//! Pausing machines: until they are resumed, or as long as this process lives.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use super::client::Running;
use super::protocol::{Request, Response};
use crate::cgroup::Cgroup;
use crate::error::{Error, failed};
use crate::process::Cmd;

impl Running {
    /// Pauses all machines until the returned guard is dropped or this process ends. `supervise` is a command that calls
    /// [`supervise`](super::supervise).
    ///
    /// # Errors
    /// The host cannot freeze cgroups, or a process could not be stopped; all machines run again.
    pub fn pause_scoped(&self, supervise: &Cmd) -> Result<PauseGuard, Error> {
        PauseGuard::new(&self.state.cgroup, supervise)
    }

    /// Pauses all machines until [`Running::unpause`], even beyond the end of this process. Does nothing if they are
    /// paused.
    ///
    /// # Errors
    /// The host cannot freeze cgroups, or a process could not be stopped; all machines run again.
    pub fn pause(&self) -> Result<(), Error> {
        self.state.cgroup.freeze()
    }

    /// Resumes the machines. Does nothing if they run.
    ///
    /// # Errors
    /// A cgroup could not be written to.
    pub fn unpause(&self) -> Result<(), Error> {
        self.state.cgroup.thaw()
    }

    /// # Errors
    /// The host cannot freeze cgroups, or their state could not be read.
    pub fn is_paused(&self) -> Result<bool, Error> {
        self.state.cgroup.is_frozen()
    }
}

/// Pauses machines as long as it lives. A helper process freezes them and thaws them when the pipe from this process
/// closes.
#[derive(Debug)]
#[must_use]
pub struct PauseGuard {
    cgroup: Cgroup,
    helper: Child,
    responses: BufReader<ChildStdout>,
}

impl PauseGuard {
    fn new(cgroup: &Cgroup, supervise: &Cmd) -> Result<Self, Error> {
        let act = || failed("start the process that pauses the machines");
        let mut helper = supervise
            .detached()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(act())?;
        let output = helper.stdout.take().map(BufReader::new);
        let responses = output.ok_or_else(|| act()(io::Error::from(io::ErrorKind::BrokenPipe)))?;
        let mut guard = Self {
            cgroup: cgroup.clone(),
            helper,
            responses,
        };
        if let Some(input) = &mut guard.helper.stdin {
            let request = serde_json::to_string(&Request::Pause(cgroup.clone())).map_err(io::Error::from);
            request
                .and_then(|request| writeln!(input, "{request}"))
                .map_err(act())?;
        }
        match guard.receive()? {
            Response::Paused => Ok(guard),
            other => Err(unexpected(other)),
        }
    }

    /// Resumes the machines and returns how long they were paused.
    ///
    /// # Errors
    /// The helper process did not answer. The machines run again unless their cgroup cannot be written to.
    pub fn resume(mut self) -> Result<Duration, Error> {
        drop(self.helper.stdin.take());
        match self.receive()? {
            Response::Resumed(after) => Ok(after),
            other => Err(unexpected(other)),
        }
    }

    fn receive(&mut self) -> Result<Response, Error> {
        let act = || failed("read the answer of the process that pauses the machines");
        let mut line = String::new();
        self.responses.read_line(&mut line).map_err(act())?;
        serde_json::from_str(&line).map_err(|error| act()(error.into()))
    }
}

fn unexpected(response: Response) -> Error {
    match response {
        Response::Failed(reasons) => Error::Supervisor(reasons),
        other => Error::message(format!("unexpected answer of a supervisor: {other:?}")),
    }
}

impl Drop for PauseGuard {
    fn drop(&mut self) {
        drop(self.helper.stdin.take());
        let _ = self.helper.wait();
        // The helper may have been killed.
        if let Err(error) = self.cgroup.thaw() {
            tracing::warn!(%error, "the machines may still be paused");
        }
    }
}
