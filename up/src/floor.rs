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
use parbake_cluster::wait::{Poll, TimedOut, Wait};
use parbake_cluster::{Description, Node, connect};
use parbake_machine::handle::Running;
use parbake_machine::host::{Host, Purpose};

use crate::alone::{Alone, AloneError, masks};
use crate::identity::{self, Identity};
use crate::layers::{allowed, digests, stacks};
use crate::state::{Claim, Phase, Record};
use crate::thaw::{claim, forward, id};
use crate::{Error, Options};

/// What does not start, beside the runtime.
const MASKED: [&str; 4] = [
    "kubelet.service",
    "parbake-head-start.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
];

/// A floor that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// What a thaw does, too.
    #[error(transparent)]
    Thaw(#[from] Error),
    /// The two programs could not be alone.
    #[error(transparent)]
    Alone(#[from] AloneError),
    /// The machine did not come to rest, or the API did not answer.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// The time from the start of etcd and the API server until `/readyz` says ok; the boot of their machine is not in it.
/// Nothing is left afterwards. [`Options::wanted`] and [`Options::timings`] mean nothing here.
///
/// # Errors
/// The first step that failed.
pub async fn floor(options: &Options) -> Result<Duration, FloorError> {
    let claim = claim(options)?;
    let measured = measure(options, &claim).await;
    let removed = claim.remove();
    let measured = measured?;
    removed?;
    Ok(measured)
}

async fn measure(options: &Options, claim: &Claim) -> Result<Duration, FloorError> {
    let host = Host::look(&options.dir)
        .require(Purpose::Up)
        .map_err(Error::from)?
        .decide();
    let store = Store::open(&options.dir.join("store")).map_err(Error::from)?;
    let artifact = store.get(&options.tag).map_err(Error::from)?;
    allowed(&options.dir, &store, &artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster).map_err(Error::from)?;
    let cluster = baked.with_nodes(1).map_err(Error::from)?;
    let node = &cluster.nodes()[0];
    let layers: Vec<PathBuf> = stacks(&store, &artifact, &cluster)?
        .into_iter()
        .flat_map(|(_, layers)| layers)
        .collect();
    let alone = Alone::read(&layers)?;
    claim.write(&Record::new(
        Phase::Starting,
        options.tag.clone(),
        artifact.digest.clone(),
        digests(&artifact),
        cluster.clone(),
    ))?;
    let identity = Identity::new(&cluster, &identity::Options::default()).map_err(Error::from)?;
    let surroundings = LaunchContext {
        id: &id(&options.name, claim.dir()),
        dir: claim.dir(),
        host: &host,
        forwards: vec![forward(&cluster, None)],
        internet: false,
        end_with_parent: true,
        again: false,
    };
    let masked = [&MASKED[..], &[cluster.runtime().answers().unit]].concat();
    let files = |node: &Node| identity.files(node).into_iter().chain(masks(&masked)).collect();
    let plan = machine_plan::plan(&cluster, surroundings, |_| layers.clone(), files).map_err(Error::from)?;
    let running = Running::start(&plan, &options.supervise).map_err(Error::from)?;
    let name = node.name.as_str();
    come_to_rest(&running, name, options.wait).await?;
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url))
        .await
        .map_err(Error::from)?;
    let started = Instant::now();
    let ended = alone.start(&running, name)?;
    tokio::select! {
        ready = wait_until_api(&client, options.wait) => ready?,
        error = ended => return Err(error.into()),
    }
    Ok(started.elapsed())
}

/// Waits until nothing of the boot is left to be done.
async fn come_to_rest(running: &Running, node: &str, limit: Duration) -> Result<(), FloorError> {
    let state = running
        .command(node, ["sh", "-c", "systemctl is-system-running || true"])
        .map_err(Error::from)?;
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
