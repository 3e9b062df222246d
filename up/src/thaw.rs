//! The thaw: from an artifact in the store to a cluster that is honestly ready. No kubeadm, no network.
//!
//! Nodes that were not baked join afterwards ([`crate::nodes`]), which takes kubeadm, and still no network.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::{Store, Tag};
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::readiness::{DnsProbe, Expected, Milestones, wait_until_ready};
use parbake_cluster::{
    Client, Description, Node, NodeName, ca_publish, cleanup, connect, labels_and_taints, probe,
    runtime_config,
};
use parbake_machine::fs::root;
use parbake_machine::host::{Host, HostSettings, Purpose};
use parbake_machine::plan::{Plan, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use parbake_machine::timing::{MonotonicTime, Spans};
use tokio::task::spawn_blocking;
use tracing::Instrument;

use crate::config::{self, Config, ConfigError, ConfigRequest};
use crate::egress;
use crate::events::{EventKind, Log};
use crate::host_ports;
use crate::identity::{self, Identity};
use crate::layer_stacks::{allowed, mark_used, stack_of, stacks};
use crate::nodes::Join;
use crate::services_ready;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase, Record, cluster_dir, host_id, kubeconfig};
use crate::static_pod_prestart;
use crate::timeline::Timeline;
use crate::workloads::Workloads;
use crate::{ClusterName, Diagnosis, Error};

/// What to thaw, and how.
#[derive(Debug)]
pub struct Options {
    /// The artifact's name in the store.
    pub tag: Tag,
    /// What the cluster is called on this host.
    pub name: ClusterName,
    /// What the cluster is to be beyond what was baked, and how many of the baked nodes run.
    pub config: ConfigRequest,
    /// Whether it has a way to the outside, at this start and every later one.
    pub internet: bool,
    /// How long it may take until the cluster is ready.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
    /// Whether to say where the time went.
    pub timings: bool,
    /// Whether to put one more pod on every node and to wait until DNS answers it, see [`probe`].
    pub probe: bool,
}

/// A cluster that was thawed and is ready.
#[derive(Debug)]
pub struct ThawReport {
    /// What it is.
    pub record: Record,
    /// Where the host reaches its API.
    pub api: SocketAddr,
    /// When it passed what on its way, counted from the start of [`thaw`].
    pub milestones: Milestones,
    /// Where the time went, if [`Options::timings`] asked for it.
    pub timeline: Option<Timeline>,
    /// When DNS answered in a pod on each node, counted from the start of [`thaw`], if [`Options::probe`] asked for it.
    pub dns_in_pods: Option<Duration>,
}

/// When a thaw began, on two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartTime {
    instant: Instant,
    moment: MonotonicTime,
}

impl StartTime {
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            moment: MonotonicTime::now(),
        }
    }
}

/// Starts a cluster from an artifact and waits until it is ready.
///
/// # Errors
/// The first step that failed; nothing of the cluster is left then.
pub async fn thaw(options: &Options) -> Result<ThawReport, Error> {
    let started = StartTime::now();
    let mut spans = Spans::default();
    let host = spans.time("look at the host", || {
        Host::detect(&options.dir).require(Purpose::Up)
    })?;
    if options.internet {
        host.require_internet()?;
    }
    let from = MonotonicTime::now();
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get(&options.tag)?;
    allowed(&options.dir, &store, &artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let (config, cluster) = options.config.resolve(&baked)?;
    cluster.suits(&host)?;
    egress::leads_out(options.internet, &cluster)?;
    let stacks = stacks(&store, &artifact, &cluster)?;
    spans.record("look the artifact up", from);
    let claim = ClusterLock::for_new(&options.dir, &options.name)?;
    if let Err(error) = config::store(claim.dir(), &config) {
        claim.remove()?;
        return Err(error.into());
    }
    mark_used(&store, &options.tag);
    let record = Record::new(Phase::Starting, &artifact, cluster, options.internet);
    let prepared = Prepared {
        options,
        host: host.decide(),
        baked,
        config,
        stacks,
        started,
    };
    let log = Log::of(&options.dir, &options.name);
    let nodes = record.cluster.nodes().len();
    log.record(EventKind::Created {
        artifact: options.tag.clone(),
        nodes,
    });
    log.record(EventKind::Starting { nodes });
    let outcome = prepared.run_unless_interrupted(&claim, record, spans).await;
    log.ended(outcome.as_ref().map(|thawed| thawed.milestones.ready));
    if outcome.is_ok() {
        host.remember();
    } else {
        // What failed says why; what is in the way of cleaning up comes second.
        if let Err(error) = claim.remove() {
            tracing::warn!(%error, "could not remove what the failed start left");
        }
    }
    outcome
}

/// Starts a cluster that was created, for the first time; what a failed or killed start has left is removed first.
pub(crate) async fn first(
    options: &Options,
    claim: &ClusterLock,
    record: Record,
) -> Result<ThawReport, Error> {
    let started = StartTime::now();
    let host = Host::detect(&options.dir).require(Purpose::Up)?;
    if record.internet {
        host.require_internet()?;
    }
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get_by_digest(&record.tag, &record.artifact)?;
    allowed(&options.dir, &store, &artifact)?;
    record.cluster.suits(&host)?;
    let stacks = stacks(&store, &artifact, &record.cluster)?;
    let prepared = Prepared {
        options,
        host: host.decide(),
        baked: Description::of_artifact(&artifact.config.cluster)?,
        config: config::load(claim.dir(), &record.cluster, true)?,
        stacks,
        started,
    };
    claim.remove_machines()?;
    let outcome = prepared
        .run_unless_interrupted(claim, record, Spans::default())
        .await;
    if outcome.is_ok() {
        host.remember();
    }
    outcome
}

/// All that a thaw follows from.
struct Prepared<'a> {
    options: &'a Options,
    host: HostSettings,
    /// The cluster as it was baked.
    baked: Description,
    /// What it is to be beyond that.
    config: Config,
    /// The unpacked layers of each node that runs, bottom first.
    stacks: Vec<(NodeName, Vec<PathBuf>)>,
    started: StartTime,
}

impl Prepared<'_> {
    async fn run_unless_interrupted(
        &self,
        claim: &ClusterLock,
        record: Record,
        spans: Spans,
    ) -> Result<ThawReport, Error> {
        tokio::select! {
            outcome = self.run(claim, record, spans) => outcome,
            () = interrupted() => Err(Error::Interrupted),
        }
    }

    async fn run(
        &self,
        claim: &ClusterLock,
        mut record: Record,
        mut spans: Spans,
    ) -> Result<ThawReport, Error> {
        claim.write(&record)?;
        let joining: Vec<Node> = record.cluster.joined(&self.baked).cloned().collect();
        // Those come last.
        let thawed = record.cluster.nodes().len() - joining.len();
        let cluster = record.cluster.with_nodes(thawed)?;
        let identity = spans.time("make a new identity", || {
            Identity::new(&cluster, &identity::Options::default())
        })?;
        let boot = Timestamp::now();
        let (mut running, plan) = spans.time("start the machines", || {
            self.boot_machines(claim, &record, &cluster, &identity)
        })?;
        // While there is nothing to do but wait: the cluster is to outlive a power cut.
        let synced = spawn_blocking(move || root::sync(&plan));
        let api = running.ports()[0];
        let url = format!("https://{api}");
        let own = identity.super_admin_kubeconfig(&url);
        claim.write_kubeconfigs(&identity.admin_kubeconfig(&url), &own)?;
        let client = connect(&own).await?;
        let expected = Expected {
            cluster: &cluster,
            boot,
            started: self.started.instant,
        };
        let ready = self
            .become_ready(&client, &expected, &identity, &running, &mut spans)
            .instrument(tracing::info_span!(
                "step",
                what = "wait until everything is ready"
            ));
        let (mut milestones, dns_in_pods) = tokio::try_join!(ready, self.dns_in_pods(&expected, &running))?;
        if !joining.is_empty() {
            let arrival = Join {
                claim,
                host: &self.host,
                cluster: &record.cluster,
                new: &joining,
                layers: &stack_of(&self.stacks, &joining[0]),
                internet: record.internet,
                config: &self.config,
                wait: self.options.wait.saturating_sub(self.started.instant.elapsed()),
            };
            running = arrival.run(&running, &client).await?;
            claim.sync()?;
            milestones.all_at(self.started.instant.elapsed());
        }
        let workloads = Workloads {
            state: &self.options.dir,
            layers: &record.layers,
            kubeconfig: kubeconfig(claim.dir()),
            cluster: &record.cluster,
            running: &running,
            deadline: self.started.instant + self.options.wait,
        };
        workloads.bring(&self.config).await?;
        match synced.await {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        record.phase = Phase::Up;
        record.api = Some(api);
        record.registry = host_ports::registry(&cluster, running.ports());
        record.booted = Some(boot);
        claim.write(&record)?;
        let timeline = self.options.timings.then(|| {
            let spans = spans.into_vec();
            Timeline::collect(self.started.moment, spans, &milestones, &cluster, &running)
        });
        Ok(ThawReport {
            record,
            api,
            milestones,
            timeline: timeline.transpose()?,
            dns_in_pods,
        })
    }

    async fn dns_in_pods(
        &self,
        expected: &Expected<'_>,
        running: &Running,
    ) -> Result<Option<Duration>, Error> {
        if !self.options.probe {
            return Ok(None);
        }
        let pods = DnsProbe::of_pods(running, expected.cluster)?;
        let left = self.options.wait.saturating_sub(expected.started.elapsed());
        let answered = probe::dns_answers(expected.cluster, pods, expected.started, left).await?;
        Ok(Some(answered))
    }

    fn boot_machines(
        &self,
        claim: &ClusterLock,
        record: &Record,
        cluster: &Description,
        identity: &Identity,
    ) -> Result<(Running, Plan), Error> {
        let what = match cluster.nodes().len() {
            1 => "boot 1 machine".to_owned(),
            count => format!("boot {count} machines"),
        };
        let _step = tracing::info_span!("step", what).entered();
        let surroundings = LaunchContext {
            id: &host_id(&self.options.name, claim),
            dir: claim.dir(),
            host: &self.host,
            forwards: host_ports::forwards(record),
            internet: record.internet,
            end_with_parent: false,
            again: false,
        };
        let stack = |node: &Node| stack_of(&self.stacks, node);
        let probe = self.probe()?;
        let files = |node: &Node| {
            let mut files = identity.files(node);
            files.extend(probe.clone());
            files
        };
        let plan = machine_plan::plan(cluster, surroundings, stack, files)?;
        let plan = config::configure(plan, &self.config, cluster, false)?;
        let running = Running::start(&plan, &self.options.supervise)?;
        Ok((running, plan))
    }

    fn probe(&self) -> Result<Option<SeedFile>, Error> {
        let layers = self.stacks.first().filter(|_| self.options.probe);
        let image = layers.map(|(_, layers)| runtime_config::sandbox_image(layers));
        Ok(image.transpose()?.map(|image| probe::file(&image)))
    }

    async fn become_ready(
        &self,
        client: &Client,
        expected: &Expected<'_>,
        identity: &Identity,
        running: &Running,
        spans: &mut Spans,
    ) -> Result<Milestones, Error> {
        let left = self.options.wait.saturating_sub(expected.started.elapsed());
        let vantages = DnsProbe::of_machines(running, expected.cluster)?;
        // Whoever trusts the cluster by its database must learn of the new authorities, and whoever was baked but does
        // not run must go. Both try until the API answers, and nothing is ready before they have succeeded.
        let api_url = expected.cluster.api_url();
        let from = MonotonicTime::now();
        let publish = async {
            let published = ca_publish::publish(client, identity.authorities(&api_url), left).await;
            spans.record("publish the new authorities", from);
            published
        };
        let remove = cleanup::remove_nodes(client, &self.baked, expected.cluster, left);
        let marks = config::labels_and_taints(&self.config, expected.cluster.nodes());
        let mark = labels_and_taints::set(client, &marks, left);
        // At the first start all that is there was baked.
        let exempt = config::exempt_namespaces(&self.config, client, None, left);
        let log = Log::of(&self.options.dir, &self.options.name);
        let ready = wait_until_ready(client, expected, vantages, left, log.milestones());
        let vantages = DnsProbe::of_machines(running, expected.cluster)?;
        let offered = services_ready::answer(running, expected.cluster, &vantages, left);
        let (published, removed, marked, exempted, milestones, offered) =
            tokio::join!(publish, remove, mark, exempt, ready, offered);
        // Who waits for everything has the most to say when the time is over.
        let milestones = milestones.map_err(|timed_out| {
            let dir = cluster_dir(&self.options.dir, &self.options.name);
            let diagnosis = Diagnosis::collect(running, expected.cluster, &dir);
            Error::NotReady { timed_out, diagnosis }
        })?;
        published?;
        removed?;
        marked.map_err(ConfigError::Marks)?;
        exempted?;
        offered?;
        if config::changes_control_plane(&self.config) {
            static_pod_prestart::renew(running, expected.cluster);
        }
        Ok(milestones)
    }
}
