//! The lower bound of a thaw, for the benchmark: etcd and the API server on the data of the same artifact, without kubelet
//! and containers. No thaw's API can answer sooner.
//!
//! The control plane has the root of a thaw: the same layers, a new identity. Its machine boots without kubelet and container
//! runtime. Then the two programs are started directly from the layers of their images, and the time counts from there.

use std::time::{Duration, Instant};

use parbake_cluster::connect;
use parbake_cluster::launch::api_port;
use parbake_cluster::model::machine_plan::Boot;
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::wait::{Poll, Wait};
use parbake_machine::supervisor::Running;
use parbake_machine::timing::Spans;

use crate::error::Error;
use crate::identity::{self, Identity};
use crate::launch::{Launch, Launcher};
use crate::standalone_control_plane::{KUBERNETES_UNITS, StandaloneControlPlane, masks};
use crate::state::{ClusterLock, Phase, Record, host_id};
use crate::thaw::Options;

/// The time from the start of etcd and the API server until `/readyz` succeeds, without the boot of their machine. Leaves
/// nothing behind. Ignores [`Options::config`], [`Options::internet`], [`Options::timings`] and [`Options::probe`].
///
/// # Errors
/// The first step that failed.
pub async fn baseline(options: &Options) -> Result<Duration, Error> {
    let lock = ClusterLock::for_new(&options.dir, &options.name)?;
    let measured = measure(options, &lock).await;
    let removed = lock.remove();
    let measured = measured?;
    removed?;
    Ok(measured)
}

async fn measure(options: &Options, lock: &ClusterLock) -> Result<Duration, Error> {
    let launcher = Launcher::for_tag(&options.dir, &options.tag, &mut Spans::default())?;
    let cluster = launcher.baked.first_nodes(1)?;
    launcher.check(&cluster, false)?;
    let node = &cluster.nodes()[0];
    let stacks = launcher.stacks(&cluster)?;
    let standalone = StandaloneControlPlane::read(&stacks.get(node))?;
    lock.write(&Record::new(
        Phase::Starting,
        &launcher.artifact,
        cluster.clone(),
        false,
    ))?;
    let identity = Identity::new(&cluster, &identity::Options::default())?;
    let masked = [&KUBERNETES_UNITS[..], &[cluster.runtime().profile().unit]].concat();
    let (running, _plan) = launcher.start(Launch {
        id: &host_id(&options.name, lock),
        dir: lock.dir(),
        cluster: &cluster,
        stacks: &stacks,
        boot: Boot::First,
        forwards: vec![api_port(&cluster, None)],
        internet: false,
        end_with_parent: true,
        files: &|node| identity.files(node).into_iter().chain(masks(&masked)).collect(),
        config: None,
        supervise: &options.supervise,
    })?;
    let name = node.name.as_str();
    wait_until_booted(&running, name, options.wait).await?;
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url)).await?;
    let started = Instant::now();
    let exited = standalone.start(&running, name)?;
    tokio::select! {
        ready = wait_until_api(&client, options.wait) => ready?,
        error = exited => return Err(error),
    }
    Ok(started.elapsed())
}

/// Waits until the boot of `node` has finished.
async fn wait_until_booted(running: &Running, node: &str, limit: Duration) -> Result<(), Error> {
    let state = running.command(node, ["sh", "-c", "systemctl is-system-running || true"])?;
    let wait = Wait::new("the machine to finish its boot", limit).interval(Duration::from_millis(200));
    wait.until(|| async {
        match state.run() {
            // systemctl(1): 'degraded' means running with failed units.
            Ok(output) if ["running", "degraded"].contains(&output.stdout.trim()) => Poll::Ready(()),
            Ok(output) => Poll::Pending(output.stdout),
            Err(error) => Poll::Pending(error.to_string()),
        }
    })
    .await?;
    Ok(())
}
