//! Runs commands on the machines of a bake.

use parbake_cluster::Node;
use parbake_cluster::model::runtime_config;
use parbake_machine::process::{self, Cmd};
use parbake_machine::supervisor::Running;

use super::Error;

/// Runs a command on `node`.
pub(super) fn run_on(running: &Running, node: &str, command: &[&str]) -> Result<process::Output, Error> {
    Ok(running.command(node, command)?.run()?)
}

/// Runs a shell script on `node`.
pub(super) fn run_script(running: &Running, node: &str, line: &str) -> Result<process::Output, Error> {
    run_on(running, node, &["sh", "-euc", line])
}

/// kubectl on the control plane `node`, as the administrator.
pub(super) fn kubectl(running: &Running, node: &Node, args: &[&str]) -> Result<Cmd, Error> {
    let kubectl = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    Ok(running.command(node.name.as_str(), [kubectl.as_slice(), args].concat())?)
}

/// Waits until the container runtime of `node` answers.
pub(super) fn wait_for_runtime(running: &Running, node: &str) -> Result<(), Error> {
    let question = running.command(node, ["crictl", "version"])?;
    Ok(runtime_config::wait_until_runtime_answers(&question)?)
}
