//! A cluster formed by kubeadm that is not frozen: what a thaw saves, for the comparison.
//!
//! The same layers, programs, machines, network and readiness as a thaw's, the images unpacked already. But no layer
//! of a machine: everything that makes it a cluster is done anew, with kubeadm's own settings.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::{Artifact, Layer, Store, Tag};
use parbake_cluster::readiness::{DnsProbe, Expected, Milestones, wait_until_ready};
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Client, Description, Node, connect, machine_plan, probe, runtime_config};
use parbake_machine::fs::Dirs;
use parbake_machine::host::{Host, Purpose};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use tokio::sync::oneshot;

use super::bootstrap;
use super::bootstrap::kubeadm::{ADMIN, Bootstrap, token};
use super::layers::unpacked;
use super::workspace::Workspace;
use super::{Error, MACHINE_LAYER};
use crate::kubeadm::Profile;

/// What to form.
#[derive(Debug)]
pub struct KubeadmBaselineOptions {
    /// The artifact's name in the store.
    pub tag: Tag,
    /// What the cluster's directory is called meanwhile: no artifact's name that may be baked.
    pub workspace: Tag,
    /// How many of the baked nodes; all of them where nothing is given.
    pub nodes: Option<usize>,
    /// How long it may take until the cluster is ready.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A cluster that kubeadm formed and that is ready. It goes when this is dropped.
#[derive(Debug)]
pub struct KubeadmBaseline {
    /// Its machines.
    pub running: Running,
    /// What it is.
    pub cluster: Description,
    /// The administrator's way in, from the host.
    pub kubeconfig: String,
    /// Where its files are.
    pub dir: PathBuf,
    /// When it passed what, counted from the call of [`start_kubeadm_baseline`]. [`Milestones::pods`] says little: until kubeadm has
    /// made the first pod none is missing.
    pub milestones: Milestones,
    /// When DNS answered in a pod on each node, counted as well.
    pub dns_in_pods: Duration,
    workspace: Workspace,
}

impl KubeadmBaseline {
    /// Kills the machines and removes all that is left of them.
    ///
    /// # Errors
    /// A cgroup or a file that could not be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.workspace.done()
    }
}

/// The administrator's kubeconfig, and the times.
type Ready = (String, Milestones, Duration);

/// Forms the cluster of an artifact anew and waits until it is ready.
///
/// # Errors
/// The first step that failed; nothing of the cluster is left then.
pub fn start_kubeadm_baseline(options: &KubeadmBaselineOptions) -> Result<KubeadmBaseline, Error> {
    let started = Instant::now();
    let host = Host::detect(&options.dir).require(Purpose::Up)?;
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get(&options.tag)?;
    let cluster = describe(&artifact, options.nodes)?;
    cluster.suits(&host)?;
    let workspace = Workspace::claim(&options.dir, &options.workspace, false)?;
    let bootstrap = Bootstrap {
        id: format!("once-{}", std::process::id()),
        dir: workspace.dir("cluster"),
        layers: unpacked(&store, &shared(&artifact))?,
        cluster: &cluster,
        host: &host,
        supervise: &options.supervise,
        profile: Profile::Default,
        token: token()?,
    };
    let boot = Timestamp::now();
    let running = bootstrap.boot()?;
    let expected = Expected {
        cluster: &cluster,
        boot,
        started,
    };
    let (kubeconfig, milestones, dns_in_pods) = become_ready(options, &bootstrap, &running, &expected)?;
    let dir = bootstrap.dir.clone();
    Ok(KubeadmBaseline {
        running,
        kubeconfig,
        dir,
        milestones,
        dns_in_pods,
        workspace,
        cluster,
    })
}

fn describe(artifact: &Artifact, nodes: Option<usize>) -> Result<Description, Error> {
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    Ok(baked.with_nodes(nodes.unwrap_or(baked.nodes().len()))?)
}

/// The layers that are no machine's own.
fn shared(artifact: &Artifact) -> Vec<Layer> {
    let own = |layer: &&Layer| layer.title.starts_with(MACHINE_LAYER);
    artifact
        .layers
        .iter()
        .filter(|layer| !own(layer))
        .cloned()
        .collect()
}

/// kubeadm works in a thread of its own, so that readiness is seen when it comes, as in a thaw.
fn become_ready(
    options: &KubeadmBaselineOptions,
    bootstrap: &Bootstrap<'_>,
    running: &Running,
    expected: &Expected<'_>,
) -> Result<Ready, Error> {
    let runtime = bootstrap::runtime(&options.dir)?;
    let (sender, receiver) = oneshot::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Who waits for it is gone only when something else has failed.
            let _ = sender.send(install(bootstrap, running));
        });
        runtime.block_on(async {
            let installed = async {
                // The thread ends without a word only when it panics, which the scope passes on.
                receiver.await.unwrap_or(Ok(()))
            };
            let ((), ready) = tokio::try_join!(installed, wait(options, bootstrap, running, expected))?;
            Ok(ready)
        })
    })
}

/// What people do by hand, or kind and minikube for them: the workers join side by side.
fn install(bootstrap: &Bootstrap<'_>, running: &Running) -> Result<(), Error> {
    let ca_hash = &bootstrap.init(running)?;
    let image = &runtime_config::sandbox_image(&bootstrap.layers)?;
    probe(running, bootstrap.first(), image)?;
    thread::scope(|scope| {
        let join = |node| {
            scope.spawn(move || {
                bootstrap.join(running, node, ca_hash)?;
                probe(running, node, image)
            })
        };
        let joins: Vec<_> = bootstrap.others().iter().map(join).collect();
        let mut outcomes = joins.into_iter().map(|join| match join.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        outcomes.try_for_each(|outcome| outcome)
    })
}

/// kubeadm wants nothing to be there before it.
fn probe(running: &Running, node: &Node, image: &str) -> Result<(), Error> {
    // On a worker it does not even make the directory.
    let write = format!("mkdir -p /etc/kubernetes/manifests && cat > /{}", probe::MANIFEST);
    running
        .command(node.name.as_str(), ["sh", "-euc", &write])?
        .stdin(probe::manifest(image))
        .run()?;
    Ok(())
}

async fn wait(
    options: &KubeadmBaselineOptions,
    bootstrap: &Bootstrap<'_>,
    running: &Running,
    expected: &Expected<'_>,
) -> Result<Ready, Error> {
    let left = || options.wait.saturating_sub(expected.started.elapsed());
    let (kubeconfig, client) = connect_early(bootstrap, running, left()).await?;
    let vantages = DnsProbe::of_machines(running, bootstrap.cluster)?;
    let ready = wait_until_ready(&client, expected, vantages, left(), |milestone, after| {
        tracing::debug!("{milestone} after {:.1} s", after.as_secs_f64());
    });
    let pods = DnsProbe::of_pods(running, bootstrap.cluster)?;
    let in_pods = probe::dns_answers(bootstrap.cluster, pods, expected.started, left());
    let both = tokio::try_join!(ready, in_pods);
    let (milestones, dns_in_pods) = both.map_err(|error| Error::NotReady(error.into()))?;
    Ok((kubeconfig, milestones, dns_in_pods))
}

/// Connects as soon as kubeadm has written the administrator's kubeconfig, which is before the API server starts.
async fn connect_early(
    bootstrap: &Bootstrap<'_>,
    running: &Running,
    limit: Duration,
) -> Result<(String, Client), Error> {
    let upper = Dirs(&machine_plan::machine_dir(&bootstrap.dir, bootstrap.first())).upper();
    let path = upper.join(ADMIN);
    let look = || async {
        let Ok(written) = fs::read_to_string(&path) else {
            return Poll::Pending("no kubeconfig".to_owned());
        };
        let kubeconfig = bootstrap.kubeconfig(running, &written);
        match connect(&kubeconfig).await {
            Ok(client) => Poll::Seen((kubeconfig, client)),
            // Half of it is written.
            Err(error) => Poll::Pending(error.to_string()),
        }
    };
    let connected = Wait::new("kubeadm to write a kubeconfig", limit)
        .until(look)
        .await;
    connected.map_err(|error| Error::NotReady(error.into()))
}
