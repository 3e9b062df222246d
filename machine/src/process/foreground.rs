//! A child in the foreground: it has this process's terminal, and gets the signals that are sent to this process.

use std::io;
use std::process::{Command, ExitStatus};
use std::thread;

use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Runs the command to its end and passes SIGHUP, SIGINT, SIGQUIT and SIGTERM on to it. From then on, none of them ends
/// this process.
pub(super) fn run(mut command: Command) -> io::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the child starts, so that no signal ends this process without it.
    let streams = {
        let _entered = runtime.enter();
        [
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::terminate())?,
        ]
    };
    // It dies with the thread that starts it, which is this one.
    let mut child = command.spawn()?;
    let id = i32::try_from(child.id()).ok();
    thread::spawn(move || pass_on(&runtime, streams, id));
    child.wait()
}

fn pass_on(
    runtime: &Runtime,
    [mut hangup, mut interrupt, mut quit, mut terminate]: [Stream; 4],
    id: Option<i32>,
) {
    loop {
        let signal = runtime.block_on(async {
            tokio::select! {
                _ = hangup.recv() => Signal::HUP,
                _ = interrupt.recv() => Signal::INT,
                _ = quit.recv() => Signal::QUIT,
                _ = terminate.recv() => Signal::TERM,
            }
        });
        let from_terminal = [Signal::INT, Signal::QUIT].contains(&signal) && is_in_foreground();
        // The terminal sends its signals to the child, too.
        if !from_terminal && let Some(id) = id {
            send(id, signal);
        }
    }
}

/// True if this process is in the foreground process group of its terminal.
fn is_in_foreground() -> bool {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.tpgid == stat.pgrp)
}

/// Sends a signal to the child `id`, or, where it is nsenter, to the program that nsenter waits for.
fn send(id: i32, signal: Signal) {
    let targets = match Process::new(id).and_then(|child| child.stat()) {
        Ok(stat) if stat.comm == "nsenter" => children(id),
        _ => Vec::new(),
    };
    let targets = if targets.is_empty() { vec![id] } else { targets };
    for target in targets.into_iter().filter_map(Pid::from_raw) {
        // It may have ended.
        let _ = kill_process(target, signal);
    }
}

fn children(parent: i32) -> Vec<i32> {
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    let stats = processes.filter_map(|process| process.ok()?.stat().ok());
    stats
        .filter(|stat| stat.ppid == parent)
        .map(|stat| stat.pid)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use rustix::process::Signal;

    use super::{children, send};

    #[test]
    fn signals_reach_the_child() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        assert!(children(i32::try_from(std::process::id()).unwrap()).contains(&id));
        send(id, Signal::TERM);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    }

    #[test]
    fn signals_reach_the_program_behind_nsenter() {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--target={}", std::process::id()));
        nsenter.args(["--pid", "--", "sh", "-c"]);
        nsenter.arg("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
        let mut child = nsenter.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        send(i32::try_from(child.id()).unwrap(), Signal::TERM);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
