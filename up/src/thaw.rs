//! The thaw: from an artifact in the store to a cluster that is honestly ready. No kubeadm, no network.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::{Artifact, Digest, Store, Tag};
use parbake_cluster::machines::{self, Surroundings};
use parbake_cluster::readiness::{Expected, Milestone, Milestones, Vantage, wait_until_ready};
use parbake_cluster::{Client, Description, Node, NodeName, cleanup, connect, trust};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::plan::Forward;
use parbake_machine::process::Cmd;
use parbake_machine::running::Running;

use crate::identity::{self, Identity};
use crate::state::{Claim, Phase, Record, read};
use crate::{ClusterName, Error};

/// What to thaw, and how.
#[derive(Debug)]
pub struct Options {
    /// The artifact's name in the store.
    pub tag: Tag,
    /// What the cluster is called on this host.
    pub name: ClusterName,
    /// How many of the baked nodes run; all of them where nothing is given.
    pub nodes: Option<usize>,
    /// How long it may take until the cluster is ready.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A cluster that was thawed and is ready.
#[derive(Debug)]
pub struct Thawed {
    /// What it is.
    pub record: Record,
    /// Where the host reaches its API.
    pub api: SocketAddr,
    /// When it passed what on its way, counted from the start of [`thaw`].
    pub milestones: Milestones,
}

/// Starts a cluster from an artifact and waits until it is ready.
///
/// # Errors
/// The first step that failed; nothing of the cluster is left then.
pub async fn thaw(options: &Options) -> Result<Thawed, Error> {
    let started = Instant::now();
    let host = Host::probe(&options.dir).require(Purpose::Up)?;
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get(&options.tag)?;
    let baked: Description =
        serde_json::from_value(artifact.config.cluster.clone()).map_err(Error::Artifact)?;
    let cluster = baked.with_nodes(options.nodes.unwrap_or(baked.nodes().len()))?;
    let stacks = stacks(&store, &artifact, &cluster)?;
    let claim = claim(options)?;
    let record = Record::new(
        options.tag.clone(),
        artifact.digest.clone(),
        digests(&artifact),
        cluster,
    );
    let outcome = run(options, &host, &claim, record, &baked, &stacks, started).await;
    if outcome.is_err() {
        // What failed says why; what is in the way of cleaning up comes second.
        if let Err(error) = claim.remove() {
            tracing::warn!(%error, "could not remove what the failed start left");
        }
    }
    outcome
}

/// Claims the cluster's directory; what a killed `up` left there is removed first.
fn claim(options: &Options) -> Result<Claim, Error> {
    let claim = Claim::lock(&options.dir, &options.name)?;
    match read(claim.dir()) {
        Ok(Some(record)) if record.phase == Phase::Up => Err(Error::Taken {
            name: options.name.clone(),
        }),
        Ok(Some(_)) | Ok(None) => {
            claim.remove()?;
            Claim::lock(&options.dir, &options.name)
        }
        Err(error) => Err(error),
    }
}

async fn run(
    options: &Options,
    host: &Host,
    claim: &Claim,
    mut record: Record,
    baked: &Description,
    stacks: &[(NodeName, Vec<PathBuf>)],
    started: Instant,
) -> Result<Thawed, Error> {
    claim.write(&record)?;
    let cluster = record.cluster.clone();
    let identity = Identity::new(&cluster, &identity::Options::default())?;
    let boot = Timestamp::now();
    let running = boot_machines(options, host, claim.dir(), &cluster, &identity, stacks)?;
    let api = running.ports()[0];
    let url = format!("https://{api}");
    claim.write_kubeconfig(&identity.admin_kubeconfig(&url))?;
    let client = connect(&identity.super_admin_kubeconfig(&url)).await?;
    let expected = Expected {
        cluster: &cluster,
        boot,
        started,
    };
    let milestones = become_ready(options, &client, &expected, baked, &identity, &running).await?;
    record.phase = Phase::Up;
    claim.write(&record)?;
    Ok(Thawed {
        record,
        api,
        milestones,
    })
}

fn boot_machines(
    options: &Options,
    host: &Host,
    dir: &Path,
    cluster: &Description,
    identity: &Identity,
    stacks: &[(NodeName, Vec<PathBuf>)],
) -> Result<Running, Error> {
    let _step =
        tracing::info_span!("step", what = format!("boot {} machines", cluster.nodes().len())).entered();
    let decisions = host.decide();
    let surroundings = Surroundings {
        id: &id(options, dir),
        dir,
        host: &decisions,
        forwards: vec![Forward {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            to: cluster.api_server().into(),
        }],
        end_with_parent: false,
    };
    let stack = |node: &Node| {
        stacks
            .iter()
            .find(|(name, _)| *name == node.name)
            .map(|(_, stack)| stack.clone())
            .unwrap_or_default()
    };
    let plan = machines::plan(cluster, surroundings, stack, |node| identity.files(node))?;
    Ok(Running::start(&plan, &options.supervise)?)
}

async fn become_ready(
    options: &Options,
    client: &Client,
    expected: &Expected<'_>,
    baked: &Description,
    identity: &Identity,
    running: &Running,
) -> Result<Milestones, Error> {
    let left = || options.wait.saturating_sub(expected.started.elapsed());
    // Whoever trusts the cluster by its database must learn of the new authorities before anything else; whoever was
    // baked but does not run must be gone before pods are counted. Both try until the API answers.
    let api_url = expected.cluster.api_url();
    let publish =
        async { Ok::<_, Error>(trust::publish(client, identity.authorities(&api_url), left()).await?) };
    let remove = async { Ok(cleanup::remove_nodes(client, baked, expected.cluster, left()).await?) };
    tokio::try_join!(publish, remove)?;
    let vantages = Vantage::of_machines(running, expected.cluster)?;
    let told = |milestone: Milestone, after: Duration| {
        tracing::info!("{milestone} after {:.1} s", after.as_secs_f64());
    };
    Ok(wait_until_ready(client, expected, vantages, left(), told).await?)
}

/// The unpacked layers of each node, bottom first.
fn stacks(
    store: &Store,
    artifact: &Artifact,
    cluster: &Description,
) -> Result<Vec<(NodeName, Vec<PathBuf>)>, Error> {
    let stack = |node: &Node| {
        let name = node.name.as_str();
        let layers = artifact
            .machine_layers(name)
            .ok_or_else(|| Error::NoLayers(name.to_owned()))?;
        let paths = layers
            .into_iter()
            .map(|layer| store.unpacked(layer))
            .collect::<Result<_, _>>()?;
        Ok((node.name.clone(), paths))
    };
    cluster.nodes().iter().map(stack).collect()
}

fn digests(artifact: &Artifact) -> Vec<Digest> {
    artifact.layers.iter().map(|layer| layer.digest.clone()).collect()
}

/// Clusters of the same name may live under several state directories.
fn id(options: &Options, dir: &Path) -> String {
    let place = Digest::of(dir.as_os_str().as_encoded_bytes());
    format!("{}-{}", options.name, &place.hex()[..8])
}
