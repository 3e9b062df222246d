//! The one process that holds a cluster: its mounts, its network, its machines and its ports.
//!
//! Everything but cgroups and files belongs to namespaces that only this process and the machines are in, so when they
//! end, killed or not, the kernel takes mounts, interfaces, routes and rules away. A second process, the sweeper, sees
//! to it that the machines end when the supervisor does.
//!
//! It reads a [`Plan`] from standard input and answers with one line of JSON, a `Report`, on standard output once
//! every machine's init runs. Then it waits for the machines to end. What it is running stands in `supervisor.json`.
//! Machines come and go meanwhile as it is asked to at a socket ([`crate::control`]).
//!
//! On SIGTERM it ends the machines in order: it runs the plan's farewell in them, powers them off, and goes. Whoever asked
//! for that need not stay.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::wait;
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::cgroup::{self, Cgroup};
use crate::control::{self, SOCKET};
use crate::files;
use crate::forward;
use crate::handle::Running;
use crate::load_balancer;
use crate::machine_set::{self, Members};
use crate::network::outside::{self, Outside};
use crate::network::{self, Network};
use crate::overlay;
use crate::pid::ProcessId;
use crate::plan::Plan;
use crate::root;
use crate::timing::{MonotonicTime, Span, Spans};

/// The name of the state file in the plan's directory.
pub(crate) const STATE: &str = "supervisor.json";
/// The name of the file that says which cgroups may be left when the supervisor is killed.
pub(crate) const CGROUP: &str = "cgroup.json";
/// The name of the supervisor's log in the plan's directory.
pub const LOG: &str = "supervisor.log";

/// What a supervisor says once, on standard output, and what one that pauses says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// Every machine's init runs.
    Running(State),
    /// Something failed, and nothing is left of it: the error and what caused it, outermost first.
    Failed(Vec<String>),
    /// The machines stand still.
    Paused,
    /// The machines go on, after that time.
    Resumed(Duration),
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The supervisor itself.
    pub supervisor: ProcessId,
    /// The machines' init processes by name.
    pub machines: BTreeMap<String, ProcessId>,
    /// Where the host listens, in the order of the plan's forwards.
    pub ports: Vec<SocketAddr>,
    /// Where those ports lead, inside the cluster; older supervisors did not say.
    #[serde(default)]
    pub targets: Vec<SocketAddr>,
    /// The cluster's cgroup.
    pub cgroup: Cgroup,
    /// Directories that machines have in memory, by the machines' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_memory: BTreeMap<String, Vec<PathBuf>>,
    /// What the start took its time for.
    #[serde(default)]
    pub spans: Vec<Span>,
    /// Whether the supervisor was asked to end the machines, and is at it.
    #[serde(default)]
    pub ending: bool,
}

/// A cluster's machines that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan could not be read.
    #[error("could not read the plan")]
    Plan(#[source] io::Error),
    /// A root could not be made ready.
    #[error("could not make the root of `{name}` ready")]
    Root {
        /// The machine.
        name: String,
        /// Why.
        #[source]
        source: root::Error,
    },
    /// What a machine had in memory could not be put back among its files.
    #[error("`{name}` lost what it had in memory")]
    Memory {
        /// The machine.
        name: String,
        /// Why.
        #[source]
        source: root::Error,
    },
    /// The mount namespace could not be made.
    #[error(transparent)]
    Mounts(#[from] files::Error),
    /// The network could not be set up.
    #[error("could not set the cluster's network up")]
    Network(#[from] network::Error),
    /// The way to the outside could not be made.
    #[error("could not make a way to the outside")]
    Outside(#[from] outside::Error),
    /// A port of the host could not be listened on.
    #[error("could not listen on `{address}` of the host")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A port of a machine could not be held open.
    #[error("could not hold port {port} of `{name}` open")]
    Hold {
        /// The machine.
        name: String,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A cgroup could not be made.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A machine did not boot.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// There is a machine of this name.
    #[error("there is a machine `{0}` already")]
    Twice(String),
    /// The machines are being ended.
    #[error("the cluster's machines are being ended")]
    Ending,
    /// The state could not be written or a thread not be started.
    #[error("could not {act}")]
    Own {
        /// What was tried.
        act: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the command that calls [`supervise`] is to do: one line of JSON on its standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Run the plan's machines until they end.
    Run(Box<Plan>),
    /// Wait until standard input ends, then end what is in the cgroup. systemd-nspawn does not take its machine along
    /// when it is killed, so somebody must who outlives a supervisor that is.
    Sweep(Cgroup),
    /// Make what is in the cgroup stand still until standard input ends: whoever asked for it may be killed, and then
    /// nobody else would let it go on.
    Pause(Cgroup),
}

/// The whole life of a supervisor, or of its sweeper. To be called from a process with one thread.
///
/// # Errors
/// What kept the machines from running, which was reported on standard output as well, or a cgroup that could not be
/// removed.
pub fn supervise() -> Result<(), Error> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Error::Plan)?;
    match serde_json::from_str(&line).map_err(|error| Error::Plan(error.into()))? {
        Order::Run(plan) => run_and_report(&plan),
        Order::Sweep(cgroup) => {
            io::stdin()
                .lock()
                .read_to_string(&mut line)
                .map_err(Error::Plan)?;
            Ok(cgroup.destroy()?)
        }
        Order::Pause(cgroup) => pause_and_report(&cgroup),
    }
}

fn pause_and_report(cgroup: &Cgroup) -> Result<(), Error> {
    let from = Instant::now();
    if let Err(error) = cgroup.freeze() {
        report(&Report::Failed(chain(&error)));
        return Err(error.into());
    }
    report(&Report::Paused);
    let mut rest = String::new();
    // Whatever ended the wait, they must go on.
    let _ = io::stdin().lock().read_to_string(&mut rest);
    cgroup.thaw()?;
    report(&Report::Resumed(from.elapsed()));
    Ok(())
}

fn run_and_report(plan: &Plan) -> Result<(), Error> {
    let own = |act| move |source| Error::Own { act, source };
    if plan.end_with_parent {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| own("end with the parent")(errno.into()))?;
    }
    // Machines whose systemd-nspawn ended first are this process's to reap.
    prctl::set_child_subreaper(true).map_err(|errno| own("adopt orphans")(errno.into()))?;
    // For the thread that waits for it; all others are started after this. Children begin with nothing blocked.
    let asked = SigSet::from(Signal::SIGTERM);
    asked
        .thread_block()
        .map_err(|errno| own("hold signals back")(errno.into()))?;
    let cgroup = Cgroup::of_cluster(&plan.host.cgroups, &plan.id)?;
    let sweeper = start_sweeper(&cgroup).map_err(own("start the sweeper"))?;
    let outcome = run(plan, &cgroup);
    // The machines are gone or half-made: what they leave in the cgroups would cost the next boot dearly.
    let cleaned = cgroup.destroy();
    reap(sweeper);
    for file in [STATE, CGROUP, SOCKET] {
        let _ = fs::remove_file(plan.dir.join(file));
    }
    if let Err(error) = &outcome {
        report(&Report::Failed(chain(error)));
    }
    outcome.and(cleaned.map_err(Error::from))
}

/// Starts this very command again to sweep `cgroup` when the returned child's standard input closes.
fn start_sweeper(cgroup: &Cgroup) -> io::Result<Child> {
    let mut sweeper = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(input) = &mut sweeper.stdin {
        writeln!(input, "{}", serde_json::to_string(&Order::Sweep(cgroup.clone()))?)?;
    }
    Ok(sweeper)
}

/// Lets the sweeper end, and takes leave of every other child.
fn reap(mut sweeper: Child) {
    drop(sweeper.stdin.take());
    while wait().is_ok() {}
}

fn run(plan: &Plan, cgroup: &Cgroup) -> Result<(), Error> {
    // Ports first: a taken one is the likeliest mistake, and nothing has been made yet.
    let listeners = plan
        .forwards
        .iter()
        .map(|forward| {
            forward::listen(forward).map_err(|source| Error::Listen {
                address: forward.listen,
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let own = |act| move |source| Error::Own { act, source };
    let ports = listeners
        .iter()
        .map(|(listener, _)| listener.local_addr().map_err(own("look an own port up")))
        .collect::<Result<Vec<_>, _>>()?;
    // Before the first is made: whoever clears up after a kill must know where to look.
    write(&plan.dir.join(CGROUP), cgroup).map_err(own("write down the cluster's cgroup"))?;
    // Leftovers of a supervisor that was killed.
    cgroup.destroy()?;
    Cgroup::evacuate(&plan.host.cgroups)?;
    // Before those of its machines, which keep its parent from being removed.
    cgroup.create()?;
    overlay::private_mounts()?;
    let mut spans = Spans::default();
    let roots = || machine_set::make_roots(&plan.machines);
    let roots = spans.time("mount the roots", roots)?;
    let endpoints: Vec<_> = plan
        .machines
        .iter()
        .map(|machine| machine.endpoint.clone())
        .collect();
    let network = spans.time("set the network up", || {
        Network::create(&plan.gateways(), &endpoints)
    })?;
    let outside = if plan.internet {
        Some(spans.time("make a way to the outside", || outside(plan, cgroup, &network))?)
    } else {
        None
    };
    load_balancer::serve(&network.cluster, &plan.balancers).map_err(own("balance connections to the API"))?;
    let from = MonotonicTime::now();
    let booted = machine_set::boot(&plan.machines, &network.machines, cgroup, &plan.host)?;
    spans.end("systemd-nspawn, until each init runs", from);
    let inside = network
        .cluster
        .try_clone()
        .map_err(own("hold on to the network"))?;
    forward::serve(inside, listeners).map_err(own("start the thread that forwards ports"))?;
    let supervisor = ProcessId::of(std::process::id()).map_err(own("look the supervisor itself up"))?;
    let state = State {
        supervisor,
        machines: booted.inits(),
        ports,
        targets: plan.forwards.iter().map(|forward| forward.to).collect(),
        cgroup: cgroup.clone(),
        in_memory: machine_set::in_memory(&plan.machines).collect(),
        spans: spans.into_vec(),
        ending: false,
    };
    write(&plan.dir.join(STATE), &state).map_err(own("write the supervisor's state"))?;
    let members = Arc::new(Members::new(plan, network, roots, state.clone()));
    members.watch(booted);
    control::serve(&plan.dir, Arc::clone(&members)).map_err(own("listen for changes"))?;
    end_when_asked(plan, Arc::clone(&members)).map_err(own("start the thread that waits for signals"))?;
    report(&Report::Running(state));
    members.wait_for_the_last();
    // Only now: machines may need it for their farewell.
    drop(outside);
    members.keep()
}

fn outside(plan: &Plan, cgroup: &Cgroup, network: &Network) -> Result<Outside, Error> {
    let own_cgroup = cgroup.child(outside::NAME);
    own_cgroup.create()?;
    let log = plan.dir.join(outside::LOG);
    Ok(Outside::open(&network.cluster, own_cgroup, &log)?)
}

/// Ends the machines in order after SIGTERM, from a thread of its own.
fn end_when_asked(plan: &Plan, members: Arc<Members>) -> io::Result<()> {
    let farewell = plan.farewell.clone();
    thread::Builder::new().name("end".into()).spawn(move || {
        while SigSet::from(Signal::SIGTERM).wait().is_err() {}
        Running::of(members.end()).part(&farewell);
    })?;
    Ok(())
}

fn report(report: &Report) {
    // Whoever started us may be gone; the state file says the same.
    let line = serde_json::to_string(report).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

pub(crate) fn write(path: &Path, state: &impl Serialize) -> io::Result<()> {
    files::replace(path, serde_json::to_string_pretty(state)?.as_bytes(), 0o644)
}

pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect()
}
