//! The boot of one machine by systemd-nspawn.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::dirs::Dirs;
use crate::host::HostSettings;
use crate::netns::NetNs;
use crate::process::{self, Cmd};

/// System calls that nodes need and systemd-nspawn withholds otherwise.
const MORE_SYSTEM_CALLS: &str = "add_key bpf keyctl perf_event_open";
/// How long systemd-nspawn may take until the machine's init runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of systemd-nspawn for a machine whose root is mounted at `root`.
fn arguments(name: &str, root: &Path, network: &str) -> Vec<String> {
    let mut args: Vec<String> = [
        "--quiet",
        "--boot",
        "--keep-unit",
        "--register=no",
        "--settings=no",
        "--capability=all",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        "--kill-signal=SIGRTMIN+3",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--system-call-filter={MORE_SYSTEM_CALLS}"));
    args.push(format!("--machine={name}"));
    args.push(format!("--hostname={name}"));
    args.push(format!("--network-namespace-path={network}"));
    args.push(format!("--directory={}", root.display()));
    args
}

/// A machine whose boot was started.
#[derive(Debug)]
pub(crate) struct Booting {
    name: String,
    nspawn: Child,
}

/// A machine that did not boot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its console log or a cgroup could not be opened.
    #[error("could not prepare the boot of `{name}`")]
    Prepare {
        /// The machine.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// systemd-nspawn could not be started.
    #[error(transparent)]
    Start(#[from] process::Error),
    /// systemd-nspawn ended, or its init did not come.
    #[error("`{name}` did not boot: {problem}; its console is in `{console}`")]
    Boot {
        /// The machine.
        name: String,
        /// What was seen instead.
        problem: String,
        /// The log with what it printed.
        console: String,
    },
}

/// Starts systemd-nspawn for the root that is mounted in `dirs`, in `cgroup` and `network`.
pub(crate) fn start(
    name: &str,
    dirs: &Dirs<'_>,
    network: &NetNs,
    cgroup: &Cgroup,
    host: &HostSettings,
) -> Result<Booting, Error> {
    let prepare = |source: Box<dyn std::error::Error + Send + Sync>| Error::Prepare {
        name: name.into(),
        source,
    };
    let log = File::create(dirs.console()).map_err(|error| prepare(error.into()))?;
    let log_too = log.try_clone().map_err(|error| prepare(error.into()))?;
    let namespace = format!("/proc/{}/fd/{}", std::process::id(), raw(network));
    let machine_env = host
        .machine_env
        .iter()
        .map(|(name, value)| format!("--setenv={name}={value}"));
    let cmd = Cmd::new("systemd-nspawn")
        .args(arguments(name, &dirs.root(), &namespace))
        .args(machine_env);
    let cmd = host
        .nspawn_env
        .iter()
        .fold(cmd, |cmd, (name, value)| cmd.env(name, value));
    let cmd = cmd.joining(cgroup.clone());
    tracing::debug!(command = %cmd.display(), "booting");
    let nspawn = cmd
        .std()
        .and_then(|mut command| command.stdin(Stdio::null()).stdout(log).stderr(log_too).spawn())
        .map_err(|source| process::Error::Start {
            command: cmd.display(),
            source,
        })?;
    Ok(Booting {
        name: name.to_owned(),
        nspawn,
    })
}

fn raw(network: &NetNs) -> i32 {
    std::os::fd::AsFd::as_fd(network).as_raw_fd()
}

impl Booting {
    /// Waits until the machine's init runs; gives systemd-nspawn and the process id of the init as seen from the host.
    pub(crate) fn wait_for_init(mut self, console: &Path) -> Result<(Child, u32), Error> {
        let deadline = Instant::now() + PATIENCE;
        let failed = |name: &str, problem: String| Error::Boot {
            name: name.to_owned(),
            problem,
            console: console.display().to_string(),
        };
        loop {
            if let Ok(Some(status)) = self.nspawn.try_wait() {
                let last = fs::read_to_string(console).unwrap_or_default();
                let last = last.trim_end().lines().last().unwrap_or_default().to_owned();
                return Err(failed(
                    &self.name,
                    format!("systemd-nspawn ended ({status}): {last}"),
                ));
            }
            if let Some(init) = init_of(self.nspawn.id()).ok().flatten() {
                return Ok((self.nspawn, init));
            }
            if Instant::now() > deadline {
                return Err(failed(&self.name, "no init after 30 s".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The child of `nspawn` that is process 1 of its own process namespace and has become systemd.
fn init_of(nspawn: u32) -> io::Result<Option<u32>> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))?;
    for pid in children.split_whitespace() {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let is_first = field("NSpid:").is_some_and(|ids| ids.split_whitespace().last() == Some("1"));
        if is_first && field("Name:").is_some_and(|name| name == "systemd" || name == "init") {
            return Ok(pid.parse().ok());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::arguments;

    #[test]
    fn a_machine_boots_in_its_own_network_and_registers_nowhere() {
        let args = arguments("node01", Path::new("/c/node01/root"), "/proc/7/fd/9");
        for wanted in [
            "--boot",
            "--keep-unit",
            "--register=no",
            "--hostname=node01",
            "--network-namespace-path=/proc/7/fd/9",
            "--directory=/c/node01/root",
        ] {
            assert!(
                args.iter().any(|arg| arg == wanted),
                "{wanted} is missing from {args:?}"
            );
        }
    }
}
