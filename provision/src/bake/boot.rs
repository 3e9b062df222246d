//! Machines of a bake: commands on them, and waiting for their runtime.

use std::thread;
use std::time::{Duration, Instant};

use parbake_machine::process::{self, Cmd};
use parbake_machine::running::Running;

use super::Error;

/// How long a machine may take from its boot to a runtime that answers.
const RUNTIME: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// containerd's own client, in the namespace of Kubernetes' images.
pub(super) fn ctr(running: &Running, node: &str, words: &[&str]) -> Result<Cmd, Error> {
    let all = [&["ctr", "--namespace=k8s.io"], words].concat();
    Ok(running.command(node, all)?)
}

/// Runs a command on `node` to its end.
pub(super) fn on(running: &Running, node: &str, words: &[&str]) -> Result<process::Output, Error> {
    Ok(running.command(node, words)?.run()?)
}

/// Runs a line of shell on `node` to its end.
pub(super) fn shell(running: &Running, node: &str, line: &str) -> Result<process::Output, Error> {
    on(running, node, &["sh", "-euc", line])
}

/// Waits until the runtime of `node` answers.
pub(super) fn wait_for_runtime(running: &Running, node: &str) -> Result<(), Error> {
    let deadline = Instant::now() + RUNTIME;
    loop {
        match on(running, node, &["crictl", "version"]) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
