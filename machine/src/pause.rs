//! Machines that stand still: for a moment, whatever happens to who asked for it, or until they are told to go on.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::handle::{Error, Running};
use crate::process::Cmd;
use crate::supervisor::{Order, Report};

impl Running {
    /// Makes all machines stand still until the returned guard is dropped, or this process is gone. `supervise` is the
    /// command that calls [`crate::supervisor::supervise`].
    ///
    /// # Errors
    /// The host cannot freeze cgroups, or a process would not stand still; all go on then.
    pub fn pause_scoped(&self, supervise: &Cmd) -> Result<Paused, Error> {
        Paused::start(&self.state.cgroup, supervise)
    }

    /// Makes all machines stand still until [`Running::unpause`], whatever becomes of this process. Those that do already
    /// count as reached.
    ///
    /// # Errors
    /// The host cannot freeze cgroups, or a process would not stand still; all go on then.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.state.cgroup.freeze()?)
    }

    /// Lets the machines go on. Those that do already count as reached.
    ///
    /// # Errors
    /// The cgroup that could not be written to.
    pub fn unpause(&self) -> Result<(), Error> {
        Ok(self.state.cgroup.thaw()?)
    }

    /// Whether the machines stand still.
    ///
    /// # Errors
    /// The host cannot freeze cgroups, or does not say.
    pub fn is_paused(&self) -> Result<bool, Error> {
        Ok(self.state.cgroup.is_frozen()?)
    }
}

/// Machines that stand still as long as this lives. A process of its own holds them, and lets them go on when the pipe
/// from this one closes.
#[derive(Debug)]
#[must_use]
pub struct Paused {
    cgroup: Cgroup,
    holder: Child,
    said: BufReader<ChildStdout>,
}

impl Paused {
    pub(crate) fn start(cgroup: &Cgroup, supervise: &Cmd) -> Result<Self, Error> {
        let failed = |source| Error::Supervisor {
            act: "start the process that pauses the machines",
            source,
        };
        let mut holder = supervise
            .in_own_session()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let said = holder.stdout.take().map(BufReader::new);
        let said = said.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut paused = Self {
            cgroup: cgroup.clone(),
            holder,
            said,
        };
        let order = serde_json::to_string(&Order::Pause(cgroup.clone())).map_err(io::Error::from);
        if let Some(input) = &mut paused.holder.stdin {
            let written = order.and_then(|order| writeln!(input, "{order}"));
            written.map_err(failed)?;
        }
        match paused.hear()? {
            Report::Paused => Ok(paused),
            Report::Failed(reasons) => Err(Error::Refused(reasons)),
            Report::Running(_) | Report::Resumed(_) => Err(failed(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Lets the machines go on; gives for how long they stood still.
    ///
    /// # Errors
    /// Who held them did not answer. They go on all the same, unless their cgroup cannot be written to.
    pub fn end(mut self) -> Result<Duration, Error> {
        drop(self.holder.stdin.take());
        match self.hear()? {
            Report::Resumed(after) => Ok(after),
            Report::Failed(reasons) => Err(Error::Refused(reasons)),
            Report::Running(_) | Report::Paused => Err(Error::Supervisor {
                act: "let the machines go on",
                source: io::ErrorKind::InvalidData.into(),
            }),
        }
    }

    fn hear(&mut self) -> Result<Report, Error> {
        let failed = |source| Error::Supervisor {
            act: "listen to the process that pauses the machines",
            source,
        };
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(failed)?;
        serde_json::from_str(&line).map_err(|error| failed(error.into()))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        // Who held them may have been killed.
        if let Err(error) = self.cgroup.thaw() {
            tracing::warn!(%error, "the machines may still stand still");
        }
    }
}
