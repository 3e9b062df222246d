//! The machines of a supervisor, and how they are added and removed while others run.
//!
//! All changes happen under one lock. Each one is completed or undone, and written to `supervisor.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Running;
use super::protocol::{STATE, State, write};
use crate::boot;
use crate::cgroup::Cgroup;
use crate::error::{Error, failed};
use crate::fs::Dirs;
use crate::fs::mount::HostRun;
use crate::fs::root::{self, Root};
use crate::net::early_listener::EarlyListener;
use crate::net::{NetNs, Network, sysctl};
use crate::plan::{HostSettings, MachinePlan, Plan};
use crate::process::ProcessId;

/// How long a machine that is removed may take to power off before it is killed. Its work has ended, and its files are
/// removed next; one that has just been booted may not react at all.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

struct Booted {
    name: String,
    nspawn: Child,
    init: ProcessId,
}

/// Machines whose inits run.
pub(super) struct BootedMachines(Vec<Booted>);

impl BootedMachines {
    /// The init processes by machine name.
    pub(super) fn inits(&self) -> BTreeMap<String, ProcessId> {
        let pairs = self.0.iter().map(|booted| (booted.name.clone(), booted.init));
        pairs.collect()
    }
}

/// Mounts the machines' roots and writes their files.
pub(super) fn make_roots(machines: &[MachinePlan], run: &HostRun) -> Result<BTreeMap<String, Root>, Error> {
    let made = machines.iter().map(|machine| {
        let name = machine.endpoint.name.clone();
        let root = root::make(machine, run).map_err(failed(format!("prepare the root of `{name}`")))?;
        Ok((name, root))
    });
    made.collect()
}

/// Boots machines in parallel, each in the namespace of the same index, and waits until every init runs.
pub(super) fn boot(
    machines: &[MachinePlan],
    namespaces: &[NetNs],
    cgroup: &Cgroup,
    host: &HostSettings,
) -> Result<BootedMachines, Error> {
    let mut booting = Vec::new();
    for (machine, namespace) in machines.iter().zip(namespaces) {
        let (name, dirs) = (&machine.endpoint.name, Dirs(&machine.dir));
        let listener = early_listener(machine, namespace)?;
        let own_cgroup = cgroup.child(name);
        own_cgroup.create()?;
        own_cgroup.set_cpu_weight(machine.cpu_weight)?;
        own_cgroup.limit(&machine.limits)?;
        sysctl::set_all(namespace, &machine.sysctls)
            .map_err(failed(format!("set the kernel parameters of `{name}`")))?;
        let boot = boot::start(name, &dirs, namespace, &own_cgroup, host)?;
        booting.push((machine, listener, boot));
    }
    let mut booted = Vec::new();
    for (machine, listener, booting) in booting {
        let name = machine.endpoint.name.clone();
        let (nspawn, init) = booting.wait_for_init(&Dirs(&machine.dir).console())?;
        if let Some(listener) = listener {
            listener
                .close_when_served(init)
                .map_err(failed("start a thread"))?;
        }
        let init = ProcessId::of(init).map_err(failed(format!("find the init of `{name}`")))?;
        booted.push(Booted { name, nspawn, init });
    }
    Ok(BootedMachines(booted))
}

/// The directories that machines keep in memory, by machine name.
pub(super) fn in_memory(machines: &[MachinePlan]) -> impl Iterator<Item = (String, Vec<PathBuf>)> {
    let some = machines.iter().filter(|machine| !machine.in_memory.is_empty());
    some.map(|machine| {
        let paths = machine.in_memory.iter().map(|dir| dir.path.clone());
        (machine.endpoint.name.clone(), paths.collect())
    })
}

fn early_listener(machine: &MachinePlan, namespace: &NetNs) -> Result<Option<EarlyListener>, Error> {
    let Some(port) = machine.early_port else {
        return Ok(None);
    };
    let act = format!("listen on port {port} of `{}`", machine.endpoint.name);
    EarlyListener::open(namespace, port).map_err(failed(act))
}

/// The machines of a supervisor.
pub(super) struct MachineSet {
    inner: Mutex<Inner>,
    /// How many systemd-nspawn processes run.
    running: Arc<(Mutex<usize>, Condvar)>,
}

struct Inner {
    dir: PathBuf,
    host: HostSettings,
    host_run: HostRun,
    network: Network,
    roots: BTreeMap<String, Root>,
    state: State,
    /// No machine may be added any more.
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every step leaves a valid state, even if the next one panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MachineSet {
    /// The machines of `plan`, which are running.
    pub(super) fn new(
        plan: &Plan,
        host_run: HostRun,
        network: Network,
        roots: BTreeMap<String, Root>,
        state: State,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                dir: plan.dir.clone(),
                host: plan.host.clone(),
                host_run,
                network,
                roots,
                state,
                closed: false,
            }),
            running: Arc::default(),
        }
    }

    /// Waits for each systemd-nspawn from a thread.
    pub(super) fn watch(&self, booted: BootedMachines) {
        for mut booted in booted.0 {
            *lock(&self.running.0) += 1;
            let running = Arc::clone(&self.running);
            thread::spawn(move || {
                let _ = booted.nspawn.wait();
                *lock(&running.0) -= 1;
                running.1.notify_all();
            });
        }
    }

    /// Waits until no machine runs, and closes the set.
    pub(super) fn wait_until_empty(&self) {
        loop {
            let count = lock(&self.running.0);
            let count = self.running.1.wait_while(count, |count| *count > 0);
            drop(count);
            // A machine may have been added meanwhile.
            let mut inner = lock(&self.inner);
            if *lock(&self.running.0) == 0 {
                inner.closed = true;
                return;
            }
        }
    }

    /// Unmounts the roots of machines that have ended, and writes the directories that they kept in memory back to disk.
    pub(super) fn write_back(&self) -> Result<(), Error> {
        let roots = std::mem::take(&mut lock(&self.inner).roots);
        let mut outcome = Ok(());
        for (name, root) in roots {
            let act = format!("save what `{name}` kept in memory");
            outcome = outcome.and(root.write_back().map_err(failed(act)));
        }
        outcome
    }

    /// Records that the machines are being shut down, and closes the set. Returns the running machines.
    pub(super) fn start_shutdown(&self) -> State {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        inner.state.shutting_down = true;
        if let Err(error) = inner.write() {
            tracing::warn!(%error, "could not record that the machines are shutting down");
        }
        inner.state.clone()
    }

    /// Boots more machines and waits until their inits run. To be called from a thread that lives as long as they do.
    pub(super) fn add(&self, machines: &[MachinePlan]) -> Result<State, Error> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(Error::message("the cluster's machines are shutting down"));
        }
        let names = machines.iter().map(|machine| &machine.endpoint.name);
        if let Some(name) = names
            .clone()
            .find(|name| inner.state.machines.contains_key(*name))
        {
            return Err(Error::message(format!("there is a machine `{name}` already")));
        }
        match inner.add(machines) {
            Ok(booted) => self.watch(booted),
            Err(error) => {
                for name in names {
                    if let Err(error) = inner.clear(name) {
                        tracing::warn!(name, %error, "could not clean up after a machine that did not start");
                    }
                }
                return Err(error);
            }
        }
        Ok(inner.state.clone())
    }

    /// Powers machines off, kills them after [`POWER_OFF_TIMEOUT`], and removes everything but their files. Machines that
    /// do not exist count as removed.
    pub(super) fn remove(&self, names: &[String]) -> Result<State, Error> {
        let mut inner = lock(&self.inner);
        let mut state = inner.state.clone();
        state.machines.retain(|name, _| names.contains(name));
        let leaving = Running { state };
        leaving.power_off();
        let deadline = Instant::now() + POWER_OFF_TIMEOUT;
        while leaving.machines().values().any(ProcessId::is_alive) && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
        let mut outcome = Ok(());
        for name in names {
            outcome = outcome.and(inner.clear(name));
        }
        outcome.and(inner.write())?;
        Ok(inner.state.clone())
    }
}

impl Inner {
    fn add(&mut self, machines: &[MachinePlan]) -> Result<BootedMachines, Error> {
        self.roots.extend(make_roots(machines, &self.host_run)?);
        for machine in machines {
            self.network.plug(&machine.endpoint)?;
        }
        let first = self.network.machines.len() - machines.len();
        let namespaces = &self.network.machines[first..];
        let booted = boot(machines, namespaces, &self.state.cgroup, &self.host)?;
        self.state.machines.extend(booted.inits());
        self.state.in_memory.extend(in_memory(machines));
        self.write()?;
        Ok(booted)
    }

    /// Kills the machine `name` and removes everything but its files.
    fn clear(&mut self, name: &str) -> Result<(), Error> {
        self.state.machines.remove(name);
        self.state.in_memory.remove(name);
        let mut outcome = self.state.cgroup.child(name).destroy();
        if let Some(endpoint) = self.network.endpoint(name).cloned() {
            outcome = outcome.and(self.network.unplug(&endpoint));
        }
        // Unmounts it.
        self.roots.remove(name);
        outcome
    }

    fn write(&self) -> Result<(), Error> {
        write(&self.dir.join(STATE), &self.state)
    }
}
