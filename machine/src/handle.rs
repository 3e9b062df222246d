//! A cluster's machines from the outside: started, looked up, entered, stopped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use crate::cgroup::{self, Cgroup};
use crate::control::SOCKET;
use crate::dirs::Dirs;
use crate::forward;
use crate::host::{ApplyError, CgroupPlan};
use crate::netns::NetNs;
use crate::pid::ProcessId;
use crate::plan::{Forward, Plan};
use crate::pods::Pods;
use crate::process::Cmd;
use crate::supervisor::{CGROUP, LOG, Order, Report, STATE, State};

/// How long machines may take to power off before they are killed.
const POWER_OFF: Duration = Duration::from_secs(60);
/// How long the work on machines may take to end before they are powered off.
const FAREWELL: Duration = Duration::from_secs(60);
/// How long a supervisor without machines may take to end.
const LEAVE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// Where nodes look for programs, as Debian's root does.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Machines that could not be started, looked up or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor could not be started or written to.
    #[error("could not {act}")]
    Supervisor {
        /// What was tried.
        act: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor said why it could not run the machines.
    #[error("{}", .0.join(": "))]
    Refused(Vec<String>),
    /// The supervisor ended without a word.
    #[error("the cluster's supervisor ended early; its log is `{}`", log.display())]
    Ended {
        /// The log.
        log: PathBuf,
    },
    /// There is no such machine.
    #[error("there is no node `{name}`; the nodes are {}", known.join(", "))]
    NoSuchMachine {
        /// The name that was given.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The state file is damaged.
    #[error("could not read the supervisor's state `{}`", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A port of the host could not be listened on.
    #[error("could not listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host's kernel could not be told what machines need.
    #[error(transparent)]
    Host(#[from] ApplyError),
    /// Something is left in the cluster's cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
}

/// Machines that run.
#[derive(Debug, Clone)]
pub struct Running {
    pub(crate) state: State,
}

/// Machines that do not run, and of which nothing is left but files: only now may they be frozen.
#[derive(Debug)]
#[must_use]
pub struct Stopped(());

impl Running {
    /// Boots the plan's machines and waits until every init runs. `supervise` is the command that calls
    /// [`crate::supervisor::supervise`].
    ///
    /// # Errors
    /// What the supervisor says; nothing is left then.
    pub fn start(plan: &Plan, supervise: &Cmd) -> Result<Self, Error> {
        plan.host.apply()?;
        let failed = |act| move |source| Error::Supervisor { act, source };
        fs::create_dir_all(&plan.dir).map_err(failed("make the cluster's directory"))?;
        let log = plan.dir.join(LOG);
        let log_file = File::create(&log).map_err(failed("open the supervisor's log"))?;
        let mut child = supervisor_command(plan, supervise)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(failed("start the cluster's supervisor"))?;
        if let Some(mut input) = child.stdin.take() {
            let text = serde_json::to_vec(&Order::Run(Box::new(plan.clone())))
                .map_err(io::Error::from)
                .map_err(failed("write the plan"))?;
            input
                .write_all(&text)
                .map_err(failed("hand the plan to the cluster's supervisor"))?;
        }
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(failed("listen to the cluster's supervisor"))?;
        }
        match serde_json::from_str(&line) {
            Ok(Report::Running(state)) => Ok(Self { state }),
            Ok(Report::Failed(reasons)) => {
                let _ = child.wait();
                Err(Error::Refused(reasons))
            }
            Ok(Report::Paused | Report::Resumed(_)) | Err(_) => {
                let _ = child.wait();
                Err(Error::Ended { log })
            }
        }
    }

    /// Looks up what runs for the plan directory `dir`; nothing where the supervisor is gone.
    ///
    /// # Errors
    /// The state file is damaged.
    pub fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(STATE);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        let state: State = serde_json::from_str(&text).map_err(|source| Error::State { path, source })?;
        Ok(state.supervisor.is_alive().then_some(Self { state }))
    }

    /// What a supervisor knows of its own machines.
    pub(crate) fn of(state: State) -> Self {
        Self { state }
    }

    /// What runs: processes, ports, cgroups.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where the host listens, in the order of the plan's forwards.
    pub fn ports(&self) -> &[SocketAddr] {
        &self.state.ports
    }

    /// The machines by name.
    pub fn machines(&self) -> &BTreeMap<String, ProcessId> {
        &self.state.machines
    }

    /// What the machine `name`, whose own directory is `dirs`, has in memory: the path below its root, and where it can be
    /// read as long as the machines run.
    pub fn in_memory(&self, name: &str, dirs: &Dirs<'_>) -> Vec<(PathBuf, PathBuf)> {
        let root = PathBuf::from(format!("/proc/{}/root", self.state.supervisor.pid));
        let paths = self.state.in_memory.get(name).into_iter().flatten();
        paths
            .map(|path| {
                let memory = dirs.memory(path);
                let below = memory.strip_prefix("/").unwrap_or(&memory);
                (path.clone(), root.join(below))
            })
            .collect()
    }

    /// Whether the supervisor was asked to end the machines and is at it.
    pub fn is_ending(&self) -> bool {
        self.state.ending
    }

    /// Whether every machine's init runs.
    pub fn is_whole(&self) -> bool {
        self.state.machines.values().all(ProcessId::is_alive)
    }

    fn init(&self, name: &str) -> Result<ProcessId, Error> {
        self.state
            .machines
            .get(name)
            .copied()
            .ok_or_else(|| Error::NoSuchMachine {
                name: name.to_owned(),
                known: self.state.machines.keys().cloned().collect(),
            })
    }

    /// A command that runs inside the machine `name`: in its namespaces and cgroups, with a root shell's environment.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`].
    pub fn command<A: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Cmd, Error> {
        let init = self.init(name)?;
        let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        Ok(Cmd::new("nsenter")
            .arg(format!("--target={}", init.pid))
            .args([
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--cgroup",
                "--root",
                "--wdns=/root",
            ])
            .args([
                "--",
                "/usr/bin/env",
                "-i",
                &format!("PATH={PATH}"),
                "HOME=/root",
                "USER=root",
            ])
            .arg(format!("TERM={term}"))
            .args(words)
            .joining(self.state.cgroup.of_process(init.pid)))
    }

    /// The network namespace of the machine `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`], or it has just ended.
    pub fn network(&self, name: &str) -> Result<NetNs, Error> {
        let init = self.init(name)?;
        NetNs::of_process(init.pid).map_err(|source| Error::Supervisor {
            act: "open a machine's network namespace",
            source,
        })
    }

    /// Listens on `listen` of the host, where port 0 is any free one, and connects whoever comes there with `to`, from
    /// inside the machine `name`; as long as this process lives. Gives the address that it listens on.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`], or the port is taken.
    pub fn forward(&self, name: &str, listen: SocketAddr, to: SocketAddr) -> Result<SocketAddr, Error> {
        let network = self.network(name)?;
        let failed = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = forward::listen(&Forward {
            listen,
            to,
            movable: false,
        })
        .map_err(failed)?;
        let address = listener.0.local_addr().map_err(failed)?;
        forward::serve(network, vec![listener]).map_err(failed)?;
        Ok(address)
    }

    /// The pods on the machine `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`].
    pub fn pods(&self, name: &str) -> Result<Pods, Error> {
        self.init(name).map(Pods)
    }

    /// Powers all machines off side by side, waits for them, and removes their cgroups. After a minute they are
    /// killed.
    ///
    /// # Errors
    /// A cgroup that could not be removed.
    pub fn stop(self) -> Result<Stopped, Error> {
        self.power_off();
        self.gone_after(POWER_OFF)
    }

    /// Has the supervisor end all machines in order: the plan's farewell, then the power. It does so to the end even if
    /// this process is killed meanwhile. What has not ended after two minutes is killed.
    ///
    /// # Errors
    /// A cgroup that could not be removed.
    pub fn end(self) -> Result<Stopped, Error> {
        let failed = |source| Error::Supervisor {
            act: "ask the cluster's supervisor to end",
            source,
        };
        self.state.supervisor.signal(Signal::SIGTERM).map_err(failed)?;
        self.gone_after(FAREWELL + POWER_OFF)
    }

    /// Ends the work on the machines, which may stand still, then powers them off.
    pub(crate) fn part(&self, farewell: &[Vec<String>]) {
        if let Err(error) = self.unpause() {
            tracing::warn!(%error, "the machines may still stand still");
        }
        for words in farewell {
            thread::scope(|scope| {
                for name in self.state.machines.keys() {
                    scope.spawn(move || {
                        let outcome = self.command(name, words).map(|command| command.run());
                        // Power off ends what is left.
                        if let Ok(Err(error)) = outcome {
                            tracing::warn!(name, %error, "could not end the work on a machine in order");
                        }
                    });
                }
            });
        }
        self.power_off();
    }

    pub(crate) fn power_off(&self) {
        // systemd(1), signals: SIGRTMIN+4 is 'power off'. nix knows no real-time signals.
        for init in self.state.machines.values() {
            if init.is_alive() {
                let number = nix::libc::SIGRTMIN() + 4;
                let _ = Cmd::new("kill")
                    .arg(format!("-{number}"))
                    .arg(init.pid.to_string())
                    .run();
            }
        }
    }

    fn gone_after(self, limit: Duration) -> Result<Stopped, Error> {
        let deadline = Instant::now() + limit;
        while self.state.supervisor.is_alive() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        self.kill()
    }

    /// Kills all machines at once and removes their cgroups.
    ///
    /// # Errors
    /// A cgroup that could not be removed.
    pub fn kill(self) -> Result<Stopped, Error> {
        // Once its machines are gone the supervisor takes leave of them, of its sweeper, and of us.
        self.state.cgroup.destroy()?;
        let deadline = Instant::now() + LEAVE;
        while self.state.supervisor.is_alive() {
            if Instant::now() > deadline {
                let failed = |source| Error::Supervisor {
                    act: "kill the cluster's supervisor",
                    source,
                };
                self.state.supervisor.signal(Signal::SIGKILL).map_err(failed)?;
            }
            thread::sleep(PAUSE);
        }
        // One that was being added may have come up in between.
        self.state.cgroup.destroy()?;
        Ok(Stopped(()))
    }
}

impl Stopped {
    /// Whether something of the plan directory `dir` is left in cgroups although its supervisor is gone.
    ///
    /// # Errors
    /// A damaged file of the supervisor's.
    pub fn has_orphans(dir: &Path) -> Result<bool, Error> {
        let cgroup = read::<Cgroup>(&dir.join(CGROUP))?;
        Ok(Running::find(dir)?.is_none() && cgroup.is_some_and(|cgroup| !cgroup.processes().is_empty()))
    }

    /// Makes sure that nothing of the plan directory `dir` runs or is left in cgroups, whatever happened before.
    ///
    /// # Errors
    /// See [`Running::stop`].
    pub fn ensure(dir: &Path) -> Result<Self, Error> {
        if let Some(state) = read::<State>(&dir.join(STATE))? {
            let _stopped = Running { state }.kill()?;
        }
        // A supervisor that was killed early had no machine yet, but cgroups.
        if let Some(cgroup) = read::<Cgroup>(&dir.join(CGROUP))? {
            cgroup.destroy()?;
        }
        for file in [STATE, CGROUP, SOCKET] {
            let _ = fs::remove_file(dir.join(file));
        }
        Ok(Self(()))
    }
}

/// Reads a file of the supervisor's; nothing where it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| Error::State {
            path: path.to_owned(),
            source,
        })
}

/// With systemd as PID 1 and cgroup v2, systemd owns the cgroups and lends a part of them to a scope.
fn supervisor_command(plan: &Plan, supervise: &Cmd) -> Command {
    match plan.host.cgroups {
        CgroupPlan::DelegatedScope { .. } => Cmd::new("systemd-run")
            .args(["--scope", "--quiet", "--collect", "--property=Delegate=yes"])
            .arg(format!("--unit=parbake-{}", plan.id))
            .arg("--")
            .args(supervise.words())
            .in_own_session(),
        _ => supervise.in_own_session(),
    }
}
