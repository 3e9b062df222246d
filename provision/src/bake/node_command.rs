//! Runs commands on the machines of a bake.

use parbake_cluster::runtime_config;
use parbake_machine::process;
use parbake_machine::supervisor::Running;

use super::Error;

/// Runs a command on `node`.
pub(super) fn run_on(running: &Running, node: &str, words: &[&str]) -> Result<process::Output, Error> {
    Ok(running.command(node, words)?.run()?)
}

/// Runs a shell script on `node`.
pub(super) fn run_script(running: &Running, node: &str, line: &str) -> Result<process::Output, Error> {
    run_on(running, node, &["sh", "-euc", line])
}

/// Waits until the container runtime of `node` answers.
pub(super) fn wait_for_runtime(running: &Running, node: &str) -> Result<(), Error> {
    let question = running.command(node, ["crictl", "version"])?;
    Ok(runtime_config::wait_until_it_answers(&question)?)
}
