//! Hosts that already use what a cluster needs, simulated in network namespaces.

use std::process::{Command, Output};

use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, Place, check};

/// No free port is left on the host.
pub(crate) fn no_port(place: &Place) -> Outcome {
    let script = r#"
        set -eu
        ip link set lo up
        echo 60000 60001 >/proc/sys/net/ipv4/ip_local_port_range
        echo 60000-60001 >/proc/sys/net/ipv4/ip_local_reserved_ports
        exec "$0" up k8s-1.34 --nodes 1 --name portless
    "#;
    let before = Leftovers::list(place.dir())?;
    let output = on_a_host(place, script)?;
    let message = String::from_utf8_lossy(&output.stderr);
    let errors = message.lines().filter(|line| line.starts_with("error: ")).count();
    check(output.status.code() == Some(1) && errors == 1, || {
        format!("{} and {errors} errors: {message}", output.status)
    })?;
    for part in [
        "could not listen on `127.0.0.1:0` of the host",
        "Address already in use",
    ] {
        check(message.contains(part), || message.clone().into_owned())?;
    }
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

/// Runs a script in a new network namespace; `$0` is parbake.
fn on_a_host(place: &Place, script: &str) -> Result<Output, String> {
    let parbake = place.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", script])
        .arg(parbake.get_program());
    for (name, value) in parbake.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.output().map_err(|error| error.to_string())
}
