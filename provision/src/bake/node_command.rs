//! Machines of a bake: commands on them, and waiting for their runtime.

use parbake_cluster::runtime_config;
use parbake_machine::process;
use parbake_machine::supervisor::Running;

use super::Error;

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
    let question = running.command(node, ["crictl", "version"])?;
    Ok(runtime_config::wait_until_it_answers(&question)?)
}
