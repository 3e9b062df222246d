//! Starts the machines of a cluster: the last step of every launch, of a bake as well as of a cluster from an artifact.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use parbake_machine::plan::{Forward, Plan, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use crate::error::Error;
use crate::model::description::{Description, Node};
use crate::model::machine_plan::{self, LaunchContext};

/// Plans the machines of `cluster` (see [`machine_plan::plan`]), applies `configure` to the plan and starts them in parallel.
///
/// # Errors
/// The machines could not be planned, configured or started.
pub fn start_machines<E>(
    cluster: &Description,
    context: LaunchContext<'_>,
    layers: impl Fn(&Node) -> Vec<PathBuf>,
    files: impl Fn(&Node) -> Vec<SeedFile>,
    configure: impl FnOnce(Plan) -> Result<Plan, E>,
    supervise: &Cmd,
) -> Result<(Running, Plan), E>
where
    E: From<Error> + From<parbake_machine::Error>,
{
    let _step = boot_step(cluster.nodes().len()).entered();
    let plan = configure(machine_plan::plan(cluster, context, layers, files)?)?;
    let running = Running::start(&plan, supervise)?;
    Ok((running, plan))
}

/// The progress step of booting so many machines.
pub fn boot_step(machines: usize) -> tracing::Span {
    let plural = if machines == 1 { "" } else { "s" };
    tracing::info_span!("step", what = format!("boot {machines} machine{plural}"))
}

/// The port of the host that leads to the API: `last` if that is free, any port of the loopback interface otherwise.
pub fn api_port(cluster: &Description, last: Option<SocketAddr>) -> Forward {
    host_port(cluster.api_server(), last)
}

/// A port of the host that leads to `target`: `last` if that is free, any port of the loopback interface otherwise.
pub fn host_port(target: SocketAddr, last: Option<SocketAddr>) -> Forward {
    Forward {
        listen: last.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        to: target,
        movable: true,
    }
}
