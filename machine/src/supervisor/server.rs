//! The supervisor process.
//!
//! Everything but cgroups and files belongs to namespaces that only this process and the machines are in. When they end,
//! the kernel removes mounts, interfaces, routes and rules, even if the supervisor is killed. A second process, the
//! sweeper, kills the machines when the supervisor ends.
//!
//! On SIGTERM the supervisor runs the plan's shutdown commands, powers the machines off, and exits; the client need not
//! wait.

use std::io::{self, BufRead, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::process::{Signal, WaitOptions, wait};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::client::Running;
use super::control;
use super::machine_set::{self, MachineSet};
use super::protocol::{CGROUP, Request, Response, STATE, State, remove_files, write};
use crate::cgroup::{Cgroup, remount};
use crate::error::{Error, failed};
use crate::fs::mount::private_mounts;
use crate::net::slirp::{self, Slirp};
use crate::net::{Network, forward, load_balancer};
use crate::plan::Plan;
use crate::process::{self, ProcessId};
use crate::timing::{MonotonicTime, Spans};

/// Runs a supervisor, a sweeper or a process that pauses machines, depending on the request on standard input. To be called
/// from a process with a single thread.
///
/// # Errors
/// The reason why the machines could not be run, which was sent to the client as well, or a cgroup that could not be
/// removed.
pub fn supervise() -> Result<(), Error> {
    process::reset_inherited_state();
    let act = || failed("read the request");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(act())?;
    match serde_json::from_str(&line).map_err(|error| act()(error.into()))? {
        Request::Run(plan) => run_and_report(&plan),
        Request::Sweep(cgroup) => {
            // Kill the machines even if the pipe breaks.
            let _ = io::stdin().lock().read_to_string(&mut line);
            cgroup.destroy()
        }
        Request::Pause(cgroup) => pause_and_report(&cgroup),
    }
}

fn pause_and_report(cgroup: &Cgroup) -> Result<(), Error> {
    let start = Instant::now();
    if let Err(error) = cgroup.freeze() {
        send(&Response::Failed(error.chain()));
        return Err(error);
    }
    send(&Response::Paused);
    let mut rest = String::new();
    // Resume the machines even if the pipe breaks.
    let _ = io::stdin().lock().read_to_string(&mut rest);
    cgroup.thaw()?;
    send(&Response::Resumed(start.elapsed()));
    Ok(())
}

fn run_and_report(plan: &Plan) -> Result<(), Error> {
    if plan.end_with_parent {
        let armed = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        armed.map_err(failed("tie the supervisor to its parent"))?;
    }
    // Machines whose systemd-nspawn ended first become children of this process.
    let adopting = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    adopting.map_err(failed("adopt orphaned processes"))?;
    process::limits::raise();
    let terminated = Terminated::catch().map_err(failed("catch SIGTERM"))?;
    let cgroup = Cgroup::of_cluster(&plan.host.cgroups, &plan.id)?;
    let sweeper = start_sweeper(&cgroup).map_err(failed("start the sweeper"))?;
    let outcome = run(plan, &cgroup, terminated);
    // Leftovers in the cgroups would slow the next boot down.
    let cleaned = cgroup.destroy();
    reap(sweeper);
    remove_files(&plan.dir);
    if let Err(error) = &outcome {
        send(&Response::Failed(error.chain()));
    }
    outcome.and(cleaned)
}

/// Starts this command again, to sweep `cgroup` when the returned child's standard input closes.
fn start_sweeper(cgroup: &Cgroup) -> io::Result<Child> {
    let mut sweeper = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(input) = &mut sweeper.stdin {
        writeln!(
            input,
            "{}",
            serde_json::to_string(&Request::Sweep(cgroup.clone()))?
        )?;
    }
    Ok(sweeper)
}

/// Lets the sweeper end, and waits for all children.
fn reap(mut sweeper: Child) {
    drop(sweeper.stdin.take());
    while wait(WaitOptions::empty()).is_ok() {}
}

fn run(plan: &Plan, cgroup: &Cgroup, terminated: Terminated) -> Result<(), Error> {
    // Ports first: a port in use is the most likely error, and nothing has been created yet.
    let mut listeners = Vec::new();
    let mut ports = Vec::new();
    for forward in &plan.forwards {
        let act = || failed(format!("listen on `{}` of the host", forward.listen));
        let listener = forward::listen(forward).map_err(act())?;
        ports.push(listener.0.local_addr().map_err(act())?);
        listeners.push(listener);
    }
    write(&plan.dir.join(CGROUP), cgroup)?;
    // Leftovers of a supervisor that was killed.
    cgroup.destroy()?;
    Cgroup::evacuate(&plan.host.cgroups)?;
    // Before those of its machines, which keep its parent from being removed.
    cgroup.create()?;
    let host_run = private_mounts()?;
    remount(&plan.host.remount_cgroups)?;
    let mut spans = Spans::default();
    let roots = spans.time("mount the roots", || {
        machine_set::make_roots(&plan.machines, &host_run)
    })?;
    let endpoints: Vec<_> = plan
        .machines
        .iter()
        .map(|machine| machine.endpoint.clone())
        .collect();
    let network = spans.time("set the network up", || {
        Network::create(&plan.gateways(), &endpoints)
    })?;
    let slirp = if plan.internet {
        Some(spans.time("connect the network with the outside", || {
            start_slirp(plan, cgroup, &network)
        })?)
    } else {
        None
    };
    load_balancer::serve(&network.cluster, &plan.balancers)
        .map_err(failed("balance connections to the API"))?;
    let start = MonotonicTime::now();
    let booted = machine_set::boot(&plan.machines, &network.machines, cgroup, &plan.host)?;
    spans.record("systemd-nspawn, until each init runs", start);
    let namespace = network
        .cluster
        .try_clone()
        .map_err(failed("duplicate a descriptor"))?;
    forward::serve(namespace, listeners).map_err(failed("forward ports"))?;
    let state = State {
        supervisor: ProcessId::of(std::process::id()).map_err(failed("find the supervisor's own process"))?,
        machines: booted.inits(),
        ports,
        targets: plan.forwards.iter().map(|forward| forward.to).collect(),
        cgroup: cgroup.clone(),
        in_memory: machine_set::in_memory(&plan.machines).collect(),
        spans: spans.into_vec(),
        shutting_down: false,
    };
    write(&plan.dir.join(STATE), &state)?;
    let machines = Arc::new(MachineSet::new(plan, host_run, network, roots, state.clone()));
    machines.watch(booted);
    control::serve(&plan.dir, Arc::clone(&machines)).map_err(failed("listen for changes"))?;
    shut_down_on_sigterm(plan, Arc::clone(&machines), terminated)
        .map_err(failed("start the thread that waits for SIGTERM"))?;
    send(&Response::Running(state));
    machines.wait_until_empty();
    // Not earlier: shutdown commands may need the outside.
    drop(slirp);
    machines.write_back()
}

fn start_slirp(plan: &Plan, cgroup: &Cgroup, network: &Network) -> Result<Slirp, Error> {
    let own_cgroup = cgroup.child(slirp::NAME);
    own_cgroup.create()?;
    Slirp::start(&network.cluster, own_cgroup, &plan.dir.join(slirp::LOG))
}

/// Catches SIGTERM from the moment it is created.
struct Terminated {
    runtime: tokio::runtime::Runtime,
    stream: SignalStream,
}

impl Terminated {
    fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let stream = {
            let _entered = runtime.enter();
            signal(SignalKind::terminate())?
        };
        Ok(Self { runtime, stream })
    }

    fn wait(mut self) {
        self.runtime.block_on(self.stream.recv());
    }
}

fn shut_down_on_sigterm(plan: &Plan, machines: Arc<MachineSet>, terminated: Terminated) -> io::Result<()> {
    let commands = plan.shutdown_commands.clone();
    thread::Builder::new().name("shutdown".into()).spawn(move || {
        terminated.wait();
        let state = machines.start_shutdown();
        Running { state }.run_shutdown(&commands);
    })?;
    Ok(())
}

fn send(response: &Response) {
    // The client may be gone; the state file holds the same.
    let line = serde_json::to_string(response).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}
