//! The floor of a thaw: etcd and the API server alone on the data of the same artifact, no kubelet and no containers.
//! No thaw's API can answer sooner, however little its machines take to get there.
//!
//! The control plane's root is a thaw's: the same layers, a new identity. Its machine boots without kubelet and
//! runtime; then the two programs are started straight from the layers of their images, as their manifests have it,
//! and from then on the time counts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parbake_artifact::Store;
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Description, Node, connect};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::supervisor::Running;

use crate::Error;
use crate::host_ports::forward;
use crate::identity::{self, Identity};
use crate::layer_stacks::{allowed, stacks};
use crate::standalone_control_plane::{StandaloneControlPlane, masks};
use crate::state::host_id;
use crate::state::{ClusterLock, Phase, Record};
use crate::thaw::Options;

/// What does not start, beside the runtime.
const MASKED: [&str; 4] = [
    "kubelet.service",
    "parbake-head-start.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
];

/// The time from the start of etcd and the API server until `/readyz` says ok; the boot of their machine is not in it.
/// Nothing is left afterwards. [`Options::config`] and [`Options::timings`] mean nothing here.
///
/// # Errors
/// The first step that failed.
pub async fn baseline(options: &Options) -> Result<Duration, Error> {
    let claim = ClusterLock::for_new(&options.dir, &options.name)?;
    let measured = measure(options, &claim).await;
    let removed = claim.remove();
    let measured = measured?;
    removed?;
    Ok(measured)
}

async fn measure(options: &Options, claim: &ClusterLock) -> Result<Duration, Error> {
    let host = Host::detect(&options.dir).require(Purpose::Up)?.decide();
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get(&options.tag)?;
    allowed(&options.dir, &store, &artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let cluster = baked.with_nodes(1)?;
    let node = &cluster.nodes()[0];
    let layers: Vec<PathBuf> = stacks(&store, &artifact, &cluster)?
        .into_iter()
        .flat_map(|(_, layers)| layers)
        .collect();
    let alone = StandaloneControlPlane::read(&layers)?;
    claim.write(&Record::new(Phase::Starting, &artifact, cluster.clone(), false))?;
    let identity = Identity::new(&cluster, &identity::Options::default())?;
    let surroundings = LaunchContext {
        id: &host_id(&options.name, claim),
        dir: claim.dir(),
        host: &host,
        forwards: vec![forward(&cluster, None)],
        internet: false,
        end_with_parent: true,
        again: false,
    };
    let masked = [&MASKED[..], &[cluster.runtime().answers().unit]].concat();
    let files = |node: &Node| identity.files(node).into_iter().chain(masks(&masked)).collect();
    let plan = machine_plan::plan(&cluster, surroundings, |_| layers.clone(), files)?;
    let running = Running::start(&plan, &options.supervise)?;
    let name = node.name.as_str();
    come_to_rest(&running, name, options.wait).await?;
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url)).await?;
    let started = Instant::now();
    let ended = alone.start(&running, name)?;
    tokio::select! {
        ready = wait_until_api(&client, options.wait) => ready?,
        error = ended => return Err(error),
    }
    Ok(started.elapsed())
}

/// Waits until nothing of the boot is left to be done.
async fn come_to_rest(running: &Running, node: &str, limit: Duration) -> Result<(), Error> {
    let state = running.command(node, ["sh", "-c", "systemctl is-system-running || true"])?;
    let wait = Wait::new("the machine to come to rest", limit).pause(Duration::from_millis(200));
    wait.until(|| async {
        match state.run() {
            // systemctl(1): 'degraded' is the same with units that failed.
            Ok(output) if ["running", "degraded"].contains(&output.stdout.trim()) => Poll::Seen(()),
            Ok(output) => Poll::Pending(output.stdout),
            Err(error) => Poll::Pending(error.to_string()),
        }
    })
    .await?;
    Ok(())
}
