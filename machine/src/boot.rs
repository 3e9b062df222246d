//! Booting a machine with systemd-nspawn.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::error::{Error, failed};
use crate::fs::Dirs;
use crate::net::NetNs;
use crate::plan::HostSettings;
use crate::process::Cmd;

/// System calls that nodes need and systemd-nspawn blocks by default.
const MORE_SYSTEM_CALLS: &str = "add_key bpf keyctl perf_event_open";
/// How long systemd-nspawn may take until the machine's init runs.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The arguments of systemd-nspawn for a machine whose root is mounted at `root`.
fn arguments(name: &str, root: &Path, network: &Path) -> Vec<String> {
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
    args.push(format!("--network-namespace-path={}", network.display()));
    args.push(format!("--directory={}", root.display()));
    args
}

/// A machine that is booting.
#[derive(Debug)]
pub(crate) struct Booting {
    name: String,
    nspawn: Child,
}

/// Starts systemd-nspawn for the root that is mounted in `dirs`, in `cgroup` and `network`.
pub(crate) fn start(
    name: &str,
    dirs: &Dirs<'_>,
    network: &NetNs,
    cgroup: &Cgroup,
    host: &HostSettings,
) -> Result<Booting, Error> {
    let act = || failed(format!("open the console log of `{name}`"));
    let log = File::create(dirs.console()).map_err(act())?;
    let stderr = log.try_clone().map_err(act())?;
    let machine_env = host
        .machine_env
        .iter()
        .map(|(name, value)| format!("--setenv={name}={value}"));
    let mut cmd = Cmd::new("systemd-nspawn")
        .args(arguments(name, &dirs.root(), &network.path()))
        .args(machine_env)
        .in_cgroup(cgroup.clone());
    for (name, value) in &host.nspawn_env {
        cmd = cmd.env(name, value);
    }
    tracing::debug!(command = %cmd.display(), "booting");
    let nspawn = cmd.spawn(Stdio::null(), log.into(), stderr.into())?;
    Ok(Booting {
        name: name.to_owned(),
        nspawn,
    })
}

impl Booting {
    /// Waits until the machine's init runs. Returns systemd-nspawn and the init's process id as seen from the host.
    pub(crate) fn wait_for_init(mut self, console: &Path) -> Result<(Child, u32), Error> {
        let deadline = Instant::now() + INIT_TIMEOUT;
        let problem = loop {
            if let Ok(Some(status)) = self.nspawn.try_wait() {
                let text = fs::read_to_string(console).unwrap_or_default();
                let last_line = text.trim_end().lines().last().unwrap_or_default();
                break format!("systemd-nspawn exited ({status}): {last_line}");
            }
            if let Some(init) = init_of(self.nspawn.id()).ok().flatten() {
                return Ok((self.nspawn, init));
            }
            if Instant::now() > deadline {
                break format!("no init after {} s", INIT_TIMEOUT.as_secs());
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        Err(Error::message(format!(
            "`{}` did not boot: {problem}; its console log is `{}`",
            self.name,
            console.display()
        )))
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
    fn machine_boots_in_its_own_network_and_is_not_registered() {
        let args = arguments("node01", Path::new("/c/node01/root"), Path::new("/proc/7/fd/9"));
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
