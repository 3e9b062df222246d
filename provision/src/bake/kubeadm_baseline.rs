//! The baseline of the benchmark: sets up an artifact's cluster with kubeadm instead of thawing it.
//!
//! Layers, machines, network, unpacked images and the definition of readiness are those of a thaw. Only the machines' own
//! layers are left out: kubeadm does that work again, with its default settings.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::{Artifact, Layer, Policy, Store, Tag};
use parbake_cluster::model::{machine_plan, runtime_config};
use parbake_cluster::readiness::{DnsProbe, Expected, Milestones, wait_until_ready};
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Client, Description, Node, connect, probe};
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

#[derive(Debug)]
pub struct KubeadmBaselineOptions {
    /// The artifact's name in the store.
    pub tag: Tag,
    /// The name of the working directory, which must not be that of an artifact.
    pub workspace: Tag,
    /// Limits the number of nodes.
    pub nodes: Option<usize>,
    /// The time limit until the cluster is ready.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A ready cluster that kubeadm set up. It is removed on drop.
#[derive(Debug)]
pub struct KubeadmBaseline {
    pub running: Running,
    pub cluster: Description,
    /// The administrator's kubeconfig, for use on the host.
    pub kubeconfig: String,
    pub dir: PathBuf,
    /// Times since the call of [`start_kubeadm_baseline`]. [`Milestones::pods`] means little: no pod is missing before kubeadm
    /// has created the first.
    pub milestones: Milestones,
    /// When DNS answered in a pod on each node, since the same call.
    pub dns_in_pods: Duration,
    workspace: Workspace,
}

impl KubeadmBaseline {
    /// Kills the machines and removes their files.
    ///
    /// # Errors
    /// A cgroup or file could not be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.workspace.finish()
    }
}

/// The administrator's kubeconfig, and the times.
type Ready = (String, Milestones, Duration);

/// Sets up the cluster of an artifact with kubeadm and waits until it is ready.
///
/// # Errors
/// The first step that failed. Nothing of the cluster is left behind.
pub fn start_kubeadm_baseline(options: &KubeadmBaselineOptions) -> Result<KubeadmBaseline, Error> {
    let started = Instant::now();
    let host = Host::detect(&options.dir).require(Purpose::Up)?;
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get(&options.tag)?;
    Policy::load(&options.dir)?.check(&store, &artifact)?;
    let cluster = describe(&artifact, options.nodes)?;
    cluster.check_host(&host)?;
    let workspace = Workspace::lock(&options.dir, &options.workspace, false)?;
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
    let baked = Description::from_artifact(&artifact.config.cluster)?;
    Ok(baked.first_nodes(nodes.unwrap_or(baked.nodes().len()))?)
}

/// The layers that all machines share.
fn shared(artifact: &Artifact) -> Vec<Layer> {
    let own = |layer: &&Layer| layer.title.starts_with(MACHINE_LAYER);
    artifact
        .layers
        .iter()
        .filter(|layer| !own(layer))
        .cloned()
        .collect()
}

/// Runs kubeadm in a thread, so that readiness is polled meanwhile, as in a thaw.
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
            // The receiver is dropped only if the wait has failed.
            let _ = sender.send(install(bootstrap, running));
        });
        runtime.block_on(async {
            let installed = async {
                // The sender is dropped only by a panic, which the scope propagates.
                receiver.await.unwrap_or(Ok(()))
            };
            let ((), ready) = tokio::try_join!(installed, wait(options, bootstrap, running, expected))?;
            Ok(ready)
        })
    })
}

/// Runs kubeadm on all nodes, as kind and minikube do. The workers join in parallel.
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

/// Adds the DNS probe's static pod. Only after kubeadm, which requires an empty directory of manifests.
fn probe(running: &Running, node: &Node, image: &str) -> Result<(), Error> {
    // On a worker kubeadm does not create the directory.
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
    let time_left = || options.wait.saturating_sub(expected.started.elapsed());
    let (kubeconfig, client) = connect_early(bootstrap, running, time_left()).await?;
    let machines = DnsProbe::for_cluster(running, bootstrap.cluster)?;
    let ready = wait_until_ready(&client, expected, machines, time_left(), |milestone, after| {
        tracing::debug!("{milestone} after {:.1} s", after.as_secs_f64());
    });
    let pods = DnsProbe::for_pods(running, bootstrap.cluster)?;
    let in_pods = probe::dns_answers(bootstrap.cluster, pods, expected.started, time_left());
    let both = tokio::try_join!(ready, in_pods);
    let (milestones, dns_in_pods) = both.map_err(|error| Error::NotReady(error.into()))?;
    Ok((kubeconfig, milestones, dns_in_pods))
}

/// Connects as soon as kubeadm has written the administrator's kubeconfig, which is before the API server starts.
async fn connect_early(
    bootstrap: &Bootstrap<'_>,
    running: &Running,
    timeout: Duration,
) -> Result<(String, Client), Error> {
    let upper = Dirs(&machine_plan::machine_dir(&bootstrap.dir, bootstrap.first())).upper();
    let path = upper.join(ADMIN);
    let look = || async {
        let Ok(written) = fs::read_to_string(&path) else {
            return Poll::Pending("no kubeconfig".to_owned());
        };
        let kubeconfig = bootstrap.kubeconfig(running, &written);
        match connect(&kubeconfig).await {
            Ok(client) => Poll::Ready((kubeconfig, client)),
            // The file is incomplete.
            Err(error) => Poll::Pending(error.to_string()),
        }
    };
    let connected = Wait::new("kubeadm to write a kubeconfig", timeout)
        .until(look)
        .await;
    connected.map_err(|error| Error::NotReady(error.into()))
}
