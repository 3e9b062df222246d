//! The machines that a supervisor holds, and how one comes or goes while the others run.
//!
//! Whatever changes them does so under one lock, to the end or back to where it was; what they are stands in
//! `supervisor.json` after each change. A command that asks for a change and is killed changes nothing of that.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::boot;
use crate::cgroup::Cgroup;
use crate::dirs::Dirs;
use crate::early_listener::Hold;
use crate::handle::Running;
use crate::host::HostSettings;
use crate::netns::NetNs;
use crate::network::Network;
use crate::pid::ProcessId;
use crate::plan::{MachinePlan, Plan};
use crate::root::{self, Root};
use crate::supervisor::{Error, STATE, State, write};
use crate::sysctl;

/// How long a machine that is removed may take to power off before it is killed. Its work has ended before, and its files
/// go with it; one that has just been booted may not even hear of it.
const POWER_OFF: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Machines whose inits run: systemd-nspawn and init of each, by name.
pub(crate) struct Booted(Vec<(String, Child, ProcessId)>);

impl Booted {
    /// The init processes by name.
    pub(crate) fn inits(&self) -> BTreeMap<String, ProcessId> {
        let pairs = self.0.iter().map(|(name, _, init)| (name.clone(), *init));
        pairs.collect()
    }
}

/// Mounts the machines' roots and writes their files.
pub(crate) fn make_roots(machines: &[MachinePlan]) -> Result<BTreeMap<String, Root>, Error> {
    let made = machines.iter().map(|machine| {
        let name = machine.endpoint.name.clone();
        match root::make(machine) {
            Ok(root) => Ok((name, root)),
            Err(source) => Err(Error::Root { name, source }),
        }
    });
    made.collect()
}

/// Boots machines side by side, each in the namespace at its place, and waits until every init runs.
pub(crate) fn boot(
    machines: &[MachinePlan],
    namespaces: &[NetNs],
    cgroup: &Cgroup,
    host: &HostSettings,
) -> Result<Booted, Error> {
    let own = |act| move |source| Error::Own { act, source };
    let mut booting = Vec::new();
    for (machine, namespace) in machines.iter().zip(namespaces) {
        let (name, dirs) = (&machine.endpoint.name, Dirs(&machine.dir));
        let hold = hold(machine, namespace)?;
        let own_cgroup = cgroup.child(name);
        own_cgroup.create()?;
        own_cgroup.set_cpu_weight(machine.cpu_weight)?;
        own_cgroup.limit(&machine.limits)?;
        sysctl::set_all(namespace, &machine.sysctls).map_err(own("set a machine's kernel parameters"))?;
        booting.push((
            machine,
            hold,
            boot::start(name, &dirs, namespace, &own_cgroup, host)?,
        ));
    }
    let mut booted = Vec::new();
    for (machine, hold, booting) in booting {
        let (nspawn, init) = booting.wait_for_init(&Dirs(&machine.dir).console())?;
        if let Some(hold) = hold {
            hold.until_served(init).map_err(own("start a thread"))?;
        }
        let init = ProcessId::of(init).map_err(own("look a machine's init up"))?;
        booted.push((machine.endpoint.name.clone(), nspawn, init));
    }
    Ok(Booted(booted))
}

/// What machines have in memory, by their names.
pub(crate) fn in_memory(machines: &[MachinePlan]) -> impl Iterator<Item = (String, Vec<PathBuf>)> {
    let some = machines.iter().filter(|machine| !machine.in_memory.is_empty());
    some.map(|machine| {
        let paths = machine.in_memory.iter().map(|dir| dir.path.clone());
        (machine.endpoint.name.clone(), paths.collect())
    })
}

fn hold(machine: &MachinePlan, namespace: &NetNs) -> Result<Option<Hold>, Error> {
    let Some(port) = machine.hold else {
        return Ok(None);
    };
    Hold::open(namespace, port).map_err(|source| Error::Hold {
        name: machine.endpoint.name.clone(),
        port,
        source,
    })
}

/// The machines of a cluster.
pub(crate) struct Members {
    held: Mutex<Held>,
    /// How many of systemd-nspawn have not ended.
    alive: Arc<(Mutex<usize>, Condvar)>,
}

/// What is theirs.
struct Held {
    dir: PathBuf,
    host: HostSettings,
    network: Network,
    roots: BTreeMap<String, Root>,
    state: State,
    /// Whether no machine may be added any more.
    closed: bool,
}

/// A panic elsewhere leaves what is written down as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Members {
    /// The machines of `plan`, which run.
    pub(crate) fn new(plan: &Plan, network: Network, roots: BTreeMap<String, Root>, state: State) -> Self {
        Self {
            held: Mutex::new(Held {
                dir: plan.dir.clone(),
                host: plan.host.clone(),
                network,
                roots,
                state,
                closed: false,
            }),
            alive: Arc::default(),
        }
    }

    /// Takes leave of each systemd-nspawn when it ends.
    pub(crate) fn watch(&self, booted: Booted) {
        for (_, mut nspawn, _) in booted.0 {
            *lock(&self.alive.0) += 1;
            let alive = Arc::clone(&self.alive);
            thread::spawn(move || {
                let _ = nspawn.wait();
                *lock(&alive.0) -= 1;
                alive.1.notify_all();
            });
        }
    }

    /// Waits until no machine runs and none can come any more.
    pub(crate) fn wait_for_the_last(&self) {
        loop {
            let count = lock(&self.alive.0);
            let count = self.alive.1.wait_while(count, |count| *count > 0);
            drop(count);
            // One may be on its way up.
            let mut held = lock(&self.held);
            if *lock(&self.alive.0) == 0 {
                held.closed = true;
                return;
            }
        }
    }

    /// Unmounts the roots of machines that have ended, and puts what they had in memory back among their files.
    pub(crate) fn keep(&self) -> Result<(), Error> {
        let roots = std::mem::take(&mut lock(&self.held).roots);
        let mut outcome = Ok(());
        for (name, root) in roots {
            let kept = root.keep().map_err(|source| Error::Memory { name, source });
            outcome = outcome.and(kept);
        }
        outcome
    }

    /// Notes that the machines are being ended; gives those there are.
    pub(crate) fn end(&self) -> State {
        let mut held = lock(&self.held);
        held.closed = true;
        held.state.ending = true;
        if let Err(error) = held.write() {
            tracing::warn!(%error, "could not write down that the machines are ending");
        }
        held.state.clone()
    }

    /// Boots more machines and waits until their inits run. To be called from a thread that lives as long as they do.
    pub(crate) fn add(&self, machines: &[MachinePlan]) -> Result<State, Error> {
        let mut held = lock(&self.held);
        if held.closed {
            return Err(Error::Ending);
        }
        let names = machines.iter().map(|machine| &machine.endpoint.name);
        if let Some(name) = names.clone().find(|name| held.state.machines.contains_key(*name)) {
            return Err(Error::Twice(name.clone()));
        }
        match held.add(machines) {
            Ok(booted) => self.watch(booted),
            Err(error) => {
                for name in names {
                    if let Err(error) = held.clear(name) {
                        tracing::warn!(name, %error, "could not remove what a machine left");
                    }
                }
                return Err(error);
            }
        }
        Ok(held.state.clone())
    }

    /// Powers machines off, and removes all that belongs to them but their files. One that is not there counts as
    /// removed; after 10 s they are killed.
    pub(crate) fn remove(&self, names: &[String]) -> Result<State, Error> {
        let mut held = lock(&self.held);
        let mut leaving = held.state.clone();
        leaving.machines.retain(|name, _| names.contains(name));
        let leaving = Running::of(leaving);
        leaving.power_off();
        let deadline = Instant::now() + POWER_OFF;
        while leaving.machines().values().any(ProcessId::is_alive) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        let mut outcome = Ok(());
        for name in names {
            outcome = outcome.and(held.clear(name));
        }
        let written = held.write().map_err(|source| Error::Own {
            act: "write the supervisor's state",
            source,
        });
        outcome.and(written)?;
        Ok(held.state.clone())
    }
}

impl Held {
    fn add(&mut self, machines: &[MachinePlan]) -> Result<Booted, Error> {
        self.roots.extend(make_roots(machines)?);
        for machine in machines {
            self.network.plug(&machine.endpoint)?;
        }
        let namespaces = self.network.machines.len() - machines.len();
        let booted = boot(
            machines,
            &self.network.machines[namespaces..],
            &self.state.cgroup,
            &self.host,
        )?;
        self.state.machines.extend(booted.inits());
        self.state.in_memory.extend(in_memory(machines));
        self.write().map_err(|source| Error::Own {
            act: "write the supervisor's state",
            source,
        })?;
        Ok(booted)
    }

    /// Kills the machine `name` and removes what is left of it, files excepted.
    fn clear(&mut self, name: &str) -> Result<(), Error> {
        self.state.machines.remove(name);
        self.state.in_memory.remove(name);
        let mut outcome = self.state.cgroup.child(name).destroy().map_err(Error::from);
        if let Some(endpoint) = self.network.endpoint(name).cloned() {
            outcome = outcome.and(self.network.unplug(&endpoint).map_err(Error::from));
        }
        // Unmounted by that.
        self.roots.remove(name);
        outcome
    }

    fn write(&self) -> io::Result<()> {
        write(&self.dir.join(STATE), &self.state)
    }
}
