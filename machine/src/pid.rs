//! Process ids that cannot be mistaken for another process's after reuse.

use std::fs;
use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process: its id and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// The id in the host's process namespace.
    pub pid: u32,
    /// When it started, in clock ticks since the host's boot (proc_pid_stat(5), field 22).
    pub started: u64,
}

impl ProcessId {
    /// Looks the process `pid` up.
    ///
    /// # Errors
    /// It does not exist, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Sends it a signal. A process that is gone counts as reached.
    ///
    /// # Errors
    /// What kill(2) says.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid.cast_signed()), signal) {
            Err(nix::errno::Errno::ESRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Field 22 of `/proc/PID/stat`; `None` for a zombie, which runs no more. The second field, the name in parentheses,
/// may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        None
    } else {
        fields.nth(18)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcessId, start_time};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_no_harm() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(start_time(stat), Some(4711));
    }

    #[test]
    fn a_process_id_that_was_used_again_is_another_process() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                started: own.started + 1,
                ..own
            }
            .is_alive()
        );
    }
}
