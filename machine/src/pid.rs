//! Process ids that cannot be mistaken for another process's after reuse.

use std::fs;
use std::io;
use std::time::Duration;

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

    /// The processor time that it and those of its children that it has taken leave of have used
    /// (proc_pid_stat(5), fields 14 to 17).
    ///
    /// # Errors
    /// It does not run any more.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        if start_time(&stat) != Some(self.started) {
            return Err(gone());
        }
        let ticks = cpu_ticks(&stat).ok_or_else(gone)?;
        Ok(Duration::from_secs(ticks)
            .checked_div(ticks_per_second())
            .unwrap_or_default())
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
/// may hold anything. One whose first thread has ended is a zombie as well, and holds its files and ports as long as it has
/// another thread (field 20).
fn start_time(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let [state, .., threads, _, started] = fields.get(..20)? else {
        return None;
    };
    if *state == "Z" && *threads == "1" {
        return None;
    }
    started.parse().ok()
}

/// Fields 14 to 17 of `/proc/PID/stat`, summed up.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(4).map(|field| field.parse::<u64>().ok());
    ticks.sum()
}

fn ticks_per_second() -> u32 {
    procfs::ticks_per_second().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{ProcessId, cpu_ticks, start_time};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_no_harm() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(cpu_ticks(stat), Some(5 + 6 + 7 + 8));
    }

    #[test]
    fn a_zombie_runs_as_long_as_it_has_another_thread() {
        for (state, threads, started) in [("S", 1, Some(4711)), ("Z", 2, Some(4711)), ("Z", 1, None)] {
            let stat =
                format!("7 (a) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 1000 10");
            assert_eq!(start_time(&stat), started, "{stat}");
        }
    }

    #[test]
    fn only_a_process_that_runs_has_a_processor_time() {
        let own = ProcessId::of(std::process::id()).unwrap();
        let before = own.cpu_time().unwrap();
        // More than one tick of the clock, whatever its rate.
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_millis(60) {}
        assert!(own.cpu_time().unwrap() > before);
        let started = own.started + 1;
        assert!(ProcessId { started, ..own }.cpu_time().is_err());
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
