//! Process ids that are not confused with a later process of the same number.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// The id in the host's process namespace.
    pub pid: u32,
    /// When the process started, in clock ticks since the host's boot (proc_pid_stat(5), field 22).
    pub started: u64,
}

impl ProcessId {
    /// # Errors
    /// The process does not exist, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { pid, started })
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// The CPU time of the process and of its children that it has waited for (proc_pid_stat(5), fields 14 to 17).
    ///
    /// # Errors
    /// The process has ended.
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

    /// Sends a signal. Succeeds if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()).filter(|_| self.is_alive()) else {
            return Ok(());
        };
        match kill_process(pid, signal) {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes systemd as the init process of a machine power the machine off (systemd(1), signals: SIGRTMIN+4).
    pub(crate) fn power_off(&self) -> io::Result<()> {
        // SAFETY: the C library does not use this real-time signal itself.
        #[expect(unsafe_code, reason = "rustix has no constructor for real-time signals")]
        let power_off = unsafe { Signal::from_raw_unchecked(libc::SIGRTMIN() + 4) };
        self.signal(power_off)
    }
}

/// Field 22 of `/proc/PID/stat`; `None` for a zombie. The second field, the name in parentheses, may contain anything. A
/// process whose first thread has ended is a zombie as well, but keeps its files and ports as long as it has another thread
/// (field 20).
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

/// The sum of fields 14 to 17 of `/proc/PID/stat`.
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
    fn name_may_contain_spaces_and_parentheses() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(cpu_ticks(stat), Some(5 + 6 + 7 + 8));
    }

    #[test]
    fn zombie_with_another_thread_is_alive() {
        for (state, threads, started) in [("S", 1, Some(4711)), ("Z", 2, Some(4711)), ("Z", 1, None)] {
            let stat =
                format!("7 (a) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 1000 10");
            assert_eq!(start_time(&stat), started, "{stat}");
        }
    }

    #[test]
    fn only_a_live_process_has_a_cpu_time() {
        let own = ProcessId::of(std::process::id()).unwrap();
        let before = own.cpu_time().unwrap();
        // More than one tick of the clock, whatever its rate.
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_millis(300) {}
        assert!(own.cpu_time().unwrap() > before);
        let started = own.started + 1;
        assert!(ProcessId { started, ..own }.cpu_time().is_err());
    }

    #[test]
    fn reused_process_id_is_another_process() {
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
