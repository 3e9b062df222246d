//! Starting, finding, entering and stopping a cluster's machines.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::protocol::{self, CGROUP, LOG, Request, Response, STATE, State};
use crate::cgroup::{Cgroup, CgroupPlan};
use crate::error::{Error, failed};
use crate::fs::Dirs;
use crate::net::{NetNs, forward};
use crate::plan::{Forward, Plan};
use crate::process::{Cmd, ProcessId};

/// How long machines may take to power off before they are killed.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the shutdown commands may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a supervisor may take to exit once its machines are gone.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The search path of Debian's root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Running machines.
#[derive(Debug, Clone)]
pub struct Running {
    pub(super) state: State,
}

/// Stopped machines, of which only files are left. Only these may be frozen.
#[derive(Debug)]
#[must_use]
pub struct Stopped(());

impl Running {
    /// Boots the plan's machines and waits until every init runs. `supervise` is a command that calls
    /// [`supervise`](super::supervise).
    ///
    /// # Errors
    /// The supervisor's error; nothing is left running.
    pub fn start(plan: &Plan, supervise: &Cmd) -> Result<Self, Error> {
        plan.host.apply()?;
        // The supervisor works in `/`.
        let plan = plan.absolute().map_err(failed("find the current directory"))?;
        fs::create_dir_all(&plan.dir).map_err(failed("create the cluster's directory"))?;
        let log = plan.dir.join(LOG);
        let log_file = File::create(&log).map_err(failed("open the supervisor's log"))?;
        let mut child = supervisor_command(&plan, supervise)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(failed("start the cluster's supervisor"))?;
        if let Some(mut input) = child.stdin.take() {
            let text =
                serde_json::to_vec(&Request::Run(Box::new(plan))).map_err(failed("serialize the plan"))?;
            input
                .write_all(&text)
                .map_err(failed("send the plan to the cluster's supervisor"))?;
        }
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(failed("read the answer of the cluster's supervisor"))?;
        }
        let error = match serde_json::from_str(&line) {
            Ok(Response::Running(state)) => return Ok(Self { state }),
            Ok(Response::Failed(reasons)) => Error::Supervisor(reasons),
            Ok(Response::Paused | Response::Resumed(_)) | Err(_) => Error::message(format!(
                "the cluster's supervisor ended early; its log is `{}`",
                log.display()
            )),
        };
        let _ = child.wait();
        Err(error)
    }

    /// Finds the running machines of the plan directory `dir`; `None` where the supervisor is gone.
    ///
    /// # Errors
    /// The state file is damaged.
    pub fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let state: Option<State> = protocol::read(&dir.join(STATE))?;
        let running = state.filter(|state| state.supervisor.is_alive());
        Ok(running.map(|state| Self { state }))
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where the host listens, in the order of the plan's forwards.
    pub fn ports(&self) -> &[SocketAddr] {
        &self.state.ports
    }

    /// The init processes by machine name.
    pub fn machines(&self) -> &BTreeMap<String, ProcessId> {
        &self.state.machines
    }

    /// The directories that the machine `name` keeps in memory: the path below its root, and where to read it while the
    /// machines run. `dirs` is the machine's own directory.
    pub fn in_memory(&self, name: &str, dirs: &Dirs<'_>) -> Vec<(PathBuf, PathBuf)> {
        let root = PathBuf::from(format!("/proc/{}/root", self.state.supervisor.pid));
        let paths = self.state.in_memory.get(name).into_iter().flatten();
        paths
            .map(|path| {
                let memory = dirs.memory(path);
                let relative = memory.strip_prefix("/").unwrap_or(&memory);
                (path.clone(), root.join(relative))
            })
            .collect()
    }

    /// True while the supervisor shuts the machines down.
    pub fn is_shutting_down(&self) -> bool {
        self.state.shutting_down
    }

    /// True if every machine's init runs.
    pub fn all_alive(&self) -> bool {
        self.state.machines.values().all(ProcessId::is_alive)
    }

    /// The init process of the machine `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`].
    pub fn init(&self, name: &str) -> Result<ProcessId, Error> {
        let init = self.state.machines.get(name).copied();
        init.ok_or_else(|| Error::NoSuchMachine {
            name: name.to_owned(),
            known: self.state.machines.keys().cloned().collect(),
        })
    }

    /// A command that runs inside the machine `name`: in its namespaces and cgroups, with the environment of a root shell.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`].
    pub fn command<A: AsRef<OsStr>>(
        &self,
        name: &str,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Cmd, Error> {
        let init = self.init(name)?;
        let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        Ok(Cmd::new("nsenter")
            .arg(format!("--target={}", init.pid))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wdns=/root", "--"])
            .args(["/usr/bin/env", "-i", &format!("PATH={PATH}")])
            .args(["HOME=/root", "USER=root", &format!("TERM={term}")])
            .args(words)
            .in_cgroup(self.state.cgroup.of_process(init.pid)))
    }

    /// The network namespace of the machine `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`], or the machine has just ended.
    pub fn network(&self, name: &str) -> Result<NetNs, Error> {
        let init = self.init(name)?;
        let act = format!("open the network namespace of `{name}`");
        NetNs::of_process(init.pid).map_err(failed(act))
    }

    /// Listens on `listen` of the host, where port 0 means any free port, and connects clients with `to` from inside the
    /// machine `name`, as long as this process lives. Returns the address it listens on.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`], or the port is in use.
    pub fn forward(&self, name: &str, listen: SocketAddr, to: SocketAddr) -> Result<SocketAddr, Error> {
        let network = self.network(name)?;
        let movable = false;
        let act = || failed(format!("listen on `{listen}`"));
        let listener = forward::listen(&Forward { listen, to, movable }).map_err(act())?;
        let address = listener.0.local_addr().map_err(act())?;
        forward::serve(network, vec![listener]).map_err(act())?;
        Ok(address)
    }

    /// Powers all machines off in parallel, waits for them, and removes their cgroups. Kills them after a minute.
    ///
    /// # Errors
    /// A cgroup could not be removed.
    pub fn stop(self) -> Result<Stopped, Error> {
        self.power_off();
        self.wait_or_kill(POWER_OFF_TIMEOUT)
    }

    /// Makes the supervisor run the plan's shutdown commands in all machines and power them off. The supervisor finishes
    /// this even if this process is killed. Kills the machines after two minutes.
    ///
    /// # Errors
    /// A cgroup could not be removed.
    pub fn shut_down(self) -> Result<Stopped, Error> {
        let signalled = self.state.supervisor.signal(Signal::TERM);
        signalled.map_err(failed("ask the cluster's supervisor to shut down"))?;
        self.wait_or_kill(SHUTDOWN_TIMEOUT + POWER_OFF_TIMEOUT)
    }

    /// Runs each of `commands` in all machines in parallel, one after the other, then powers the machines off. Paused
    /// machines are resumed first.
    pub(super) fn run_shutdown(&self, commands: &[Vec<String>]) {
        if let Err(error) = self.unpause() {
            tracing::warn!(%error, "could not resume paused machines");
        }
        for words in commands {
            thread::scope(|scope| {
                for name in self.state.machines.keys() {
                    scope.spawn(move || {
                        let outcome = self.command(name, words).map(|command| command.run());
                        // Powering off ends what is left.
                        if let Ok(Err(error)) = outcome {
                            tracing::warn!(name, %error, "a shutdown command failed");
                        }
                    });
                }
            });
        }
        self.power_off();
    }

    pub(super) fn power_off(&self) {
        for init in self.state.machines.values() {
            let _ = init.power_off();
        }
    }

    fn wait_or_kill(self, timeout: Duration) -> Result<Stopped, Error> {
        let deadline = Instant::now() + timeout;
        while self.state.supervisor.is_alive() && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
        self.kill()
    }

    /// Kills all machines at once and removes their cgroups.
    ///
    /// # Errors
    /// A cgroup could not be removed.
    pub fn kill(self) -> Result<Stopped, Error> {
        self.state.cgroup.destroy()?;
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while self.state.supervisor.is_alive() {
            if Instant::now() > deadline {
                let killed = self.state.supervisor.signal(Signal::KILL);
                killed.map_err(failed("kill the cluster's supervisor"))?;
            }
            thread::sleep(POLL_INTERVAL);
        }
        // A machine that was just being added may have started in between.
        self.state.cgroup.destroy()?;
        Ok(Stopped(()))
    }
}

impl Stopped {
    /// True if processes of the plan directory `dir` are left although its supervisor is gone.
    ///
    /// # Errors
    /// A file of the supervisor's is damaged.
    pub fn has_orphans(dir: &Path) -> Result<bool, Error> {
        let cgroup: Option<Cgroup> = protocol::read(&dir.join(CGROUP))?;
        Ok(Running::find(dir)?.is_none() && cgroup.is_some_and(|cgroup| !cgroup.processes().is_empty()))
    }

    /// Kills everything that belongs to the plan directory `dir` and removes its cgroups, whatever state it is in.
    ///
    /// # Errors
    /// See [`Running::kill`].
    pub fn ensure(dir: &Path) -> Result<Self, Error> {
        if let Some(state) = protocol::read::<State>(&dir.join(STATE))? {
            let _stopped = Running { state }.kill()?;
        }
        // A supervisor that was killed early wrote no state.
        if let Some(cgroup) = protocol::read::<Cgroup>(&dir.join(CGROUP))? {
            cgroup.destroy()?;
        }
        protocol::remove_files(dir);
        Ok(Self(()))
    }
}

/// With systemd as PID 1 and cgroup v2, systemd owns the cgroups and delegates a part of them to a scope.
fn supervisor_command(plan: &Plan, supervise: &Cmd) -> Command {
    match plan.host.cgroups {
        CgroupPlan::DelegatedScope { .. } => Cmd::new("systemd-run")
            .args(["--scope", "--quiet", "--collect", "--property=Delegate=yes"])
            .arg(format!("--unit=parbake-{}", plan.id))
            .arg("--")
            .args(supervise.argv())
            .detached(),
        _ => supervise.detached(),
    }
}
