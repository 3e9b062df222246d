//! The thaw: from an artifact in the store to a ready cluster, without kubeadm and without network.
//!
//! | step | module |
//! |---|---|
//! | find a trusted artifact, check the host | [`crate::launch`] |
//! | lock an empty cluster directory, record the cluster | [`crate::state`] |
//! | create a new identity: keys, certificates, machine ids | [`crate::identity`] |
//! | boot all machines in parallel | [`crate::launch`] |
//! | publish the new CAs, delete the nodes that do not run | `parbake_cluster::{ca_publish, cleanup}` |
//! | wait until everything is ready | [`crate::readiness`] |
//! | add nodes that were not baked (kubeadm join, still without network) | [`crate::nodes`] |
//! | load images and apply manifests of the configuration | [`crate::workloads`] |

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::Tag;
use parbake_cluster::api::nodes;
use parbake_cluster::etcd::{self, Etcd};
use parbake_cluster::model::machine_plan::Boot;
use parbake_cluster::model::runtime_config;
use parbake_cluster::readiness::{DnsProbe, Expected, Milestones};
use parbake_cluster::sanitize::ca_publish;
use parbake_cluster::{Client, Description, Node, connect, probe};
use parbake_machine::fs::root;
use parbake_machine::plan::{Plan, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use parbake_machine::timing::{MonotonicTime, Spans};
use tokio::task::spawn_blocking;

use crate::config::{self, Config, ConfigRequest};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::host_ports;
use crate::identity::{self, Identity};
use crate::launch::{Launch, Launcher};
use crate::layer_stacks::LayerStacks;
use crate::name::ClusterName;
use crate::nodes::Join;
use crate::readiness::Starting;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase, Record, host_id, kubeconfig};
use crate::static_pod_prestart;
use crate::timeline::Timeline;
use crate::workloads::Workloads;

/// What to thaw, and how.
#[derive(Debug)]
pub struct Options {
    /// The artifact's name in the store.
    pub tag: Tag,
    pub name: ClusterName,
    /// The requested configuration, including the number of nodes.
    pub config: ConfigRequest,
    /// Give the cluster access to other networks, at this start and every later one.
    pub internet: bool,
    /// Limit for the whole start.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
    /// Report where the time went.
    pub timings: bool,
    /// Run one more pod on every node and wait until cluster DNS answers it, see [`probe`].
    pub probe: bool,
}

/// A cluster that was thawed and is ready. Times are counted from the call of [`thaw`].
#[derive(Debug)]
pub struct ThawReport {
    pub record: Record,
    /// The host's address of the API.
    pub api: SocketAddr,
    pub milestones: Milestones,
    /// Where the time went, if requested with [`Options::timings`].
    pub timeline: Option<Timeline>,
    /// When cluster DNS answered a pod on every node, if requested with [`Options::probe`].
    pub dns_in_pods: Option<Duration>,
}

/// The start of a thaw, on two clocks.
#[derive(Debug, Clone, Copy)]
struct StartTime {
    instant: Instant,
    monotonic: MonotonicTime,
}

impl StartTime {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            monotonic: MonotonicTime::now(),
        }
    }
}

/// Starts a new cluster from an artifact and waits until it is ready.
///
/// # Errors
/// The first step that failed. Nothing of the cluster is left.
pub async fn thaw(options: &Options) -> Result<ThawReport, Error> {
    let started = StartTime::now();
    let mut spans = Spans::default();
    let launcher = Launcher::for_tag(&options.dir, &options.tag, &mut spans)?;
    let (config, cluster) = options.config.resolve(&launcher.baked)?;
    launcher.check(&cluster, options.internet)?;
    let stacks = launcher.stacks(&cluster)?;
    let lock = ClusterLock::for_new(&options.dir, &options.name)?;
    if let Err(error) = config::store(lock.dir(), &config) {
        lock.remove()?;
        return Err(error.into());
    }
    launcher.mark_used();
    let record = Record::new(Phase::Starting, &launcher.artifact, cluster, options.internet);
    let log = Log::of(&options.dir, &options.name);
    let nodes = record.cluster.nodes().len();
    log.record(EventKind::Created {
        artifact: options.tag.clone(),
        nodes,
    });
    log.record(EventKind::Starting { nodes });
    let thaw = Thaw {
        options,
        lock: &lock,
        log: &log,
        launcher: &launcher,
        config,
        stacks,
        started,
    };
    let outcome = thaw.run_unless_interrupted(record, spans).await;
    log.record_end_of_start(outcome.as_ref().map(|thawed| thawed.milestones.ready));
    if outcome.is_ok() {
        launcher.remember_host();
    } else if let Err(error) = lock.remove() {
        // The user sees why the start failed; the next `up` cleans up.
        tracing::warn!(%error, "could not remove what the failed start left");
    }
    outcome
}

/// Starts a created cluster for the first time. Removes what a failed or killed start left.
pub(crate) async fn first_start(
    options: &Options,
    lock: &ClusterLock,
    record: Record,
) -> Result<ThawReport, Error> {
    let started = StartTime::now();
    let launcher = Launcher::for_record(&options.dir, &record)?;
    launcher.check(&record.cluster, record.internet)?;
    let thaw = Thaw {
        options,
        lock,
        log: &Log::of(&options.dir, &options.name),
        config: config::load(lock.dir(), &record.cluster, true)?,
        stacks: launcher.stacks(&record.cluster)?,
        launcher: &launcher,
        started,
    };
    lock.remove_machines()?;
    let report = thaw.run_unless_interrupted(record, Spans::default()).await?;
    launcher.remember_host();
    Ok(report)
}

/// A thaw with everything checked.
struct Thaw<'a> {
    options: &'a Options,
    lock: &'a ClusterLock,
    log: &'a Log,
    launcher: &'a Launcher,
    config: Config,
    stacks: LayerStacks,
    started: StartTime,
}

impl Thaw<'_> {
    async fn run_unless_interrupted(&self, record: Record, spans: Spans) -> Result<ThawReport, Error> {
        tokio::select! {
            outcome = self.run(record, spans) => outcome,
            () = interrupted() => Err(Error::Interrupted),
        }
    }

    async fn run(&self, mut record: Record, mut spans: Spans) -> Result<ThawReport, Error> {
        self.lock.write(&record)?;
        let joining: Vec<Node> = record
            .cluster
            .joined_nodes(&self.launcher.baked)
            .cloned()
            .collect();
        // Joining nodes are the last ones of the cluster.
        let baked = record.cluster.nodes().len() - joining.len();
        let cluster = record.cluster.first_nodes(baked)?;
        let identity = spans.time("create a new identity", || {
            Identity::new(&cluster, &identity::Options::default())
        })?;
        let boot = Timestamp::now();
        let (mut running, plan) =
            spans.time("start the machines", || self.boot(&record, &cluster, &identity))?;
        // The cluster must survive a power cut. Flushing its files takes the time that the boot takes anyway.
        let synced = spawn_blocking(move || root::sync(&plan));
        let api = running.ports()[0];
        let url = format!("https://{api}");
        let own = identity.super_admin_kubeconfig(&url);
        self.lock
            .write_kubeconfigs(&identity.admin_kubeconfig(&url), &own)?;
        let client = connect(&own).await?;
        let expected = Expected {
            cluster: &cluster,
            boot,
            started: self.started.instant,
        };
        let (mut milestones, dns_in_pods) = tokio::try_join!(
            self.become_ready(&client, &expected, &identity, &running, &mut spans),
            self.dns_in_pods(&expected, &running)
        )?;
        if !joining.is_empty() {
            let join = Join {
                lock: self.lock,
                launcher: self.launcher,
                cluster: &record.cluster,
                new: &joining,
                internet: record.internet,
                config: &self.config,
                wait: self.left(),
            };
            running = join.run(&running, &client).await?;
            self.lock.sync()?;
            milestones.count_joined(self.started.instant.elapsed());
        }
        let workloads = Workloads {
            state: &self.options.dir,
            layers: &record.layers,
            kubeconfig: kubeconfig(self.lock.dir()),
            cluster: &record.cluster,
            running: &running,
            deadline: self.started.instant + self.options.wait,
        };
        workloads.deploy(&self.config).await?;
        host_ports::publish_registry(&client, &cluster, running.ports()).await;
        match synced.await {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        record.phase = Phase::Up;
        record.api = Some(api);
        record.registry = host_ports::registry(&cluster, running.ports());
        record.booted = Some(boot);
        self.lock.write(&record)?;
        let timeline = self.options.timings.then(|| {
            let spans = spans.into_vec();
            Timeline::collect(self.started.monotonic, spans, &milestones, &cluster, &running)
        });
        Ok(ThawReport {
            record,
            api,
            milestones,
            timeline: timeline.transpose()?,
            dns_in_pods,
        })
    }

    fn left(&self) -> Duration {
        self.options.wait.saturating_sub(self.started.instant.elapsed())
    }

    fn boot(
        &self,
        record: &Record,
        cluster: &Description,
        identity: &Identity,
    ) -> Result<(Running, Plan), Error> {
        let probe = self.probe_pod()?;
        let files = |node: &Node| {
            let mut files = identity.files(node);
            files.extend(probe.clone());
            files
        };
        self.launcher.start(Launch {
            id: &host_id(&self.options.name, self.lock),
            dir: self.lock.dir(),
            cluster,
            stacks: &self.stacks,
            boot: Boot::First,
            forwards: host_ports::forwards(record),
            internet: record.internet,
            end_with_parent: false,
            files: &files,
            config: Some(&self.config),
            supervise: &self.options.supervise,
        })
    }

    /// A client of etcd on the first control plane. The port that leads there is closed with this process.
    async fn connect_etcd(
        &self,
        cluster: &Description,
        identity: &Identity,
        running: &Running,
    ) -> Result<Etcd, Error> {
        let first = &cluster.nodes()[0];
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let etcd = SocketAddr::new(first.address, etcd::CLIENT_PORT);
        let address = running.forward(first.name.as_str(), any, etcd)?;
        Ok(Etcd::connect(&identity.etcd_kubeconfig(&format!("https://{address}"))).await?)
    }

    /// The manifest of the pod for [`Options::probe`].
    fn probe_pod(&self) -> Result<Option<SeedFile>, Error> {
        if !self.options.probe {
            return Ok(None);
        }
        let layers = self.stacks.get(&self.launcher.baked.nodes()[0]);
        Ok(Some(probe::file(&runtime_config::sandbox_image(&layers)?)))
    }

    async fn dns_in_pods(
        &self,
        expected: &Expected<'_>,
        running: &Running,
    ) -> Result<Option<Duration>, Error> {
        if !self.options.probe {
            return Ok(None);
        }
        let pods = DnsProbe::for_pods(running, expected.cluster)?;
        let answered = probe::dns_answers(expected.cluster, pods, expected.started, self.left()).await?;
        Ok(Some(answered))
    }

    /// Publishes the new CAs, deletes the nodes that were baked but do not run, and waits until the cluster is ready. The first
    /// two retry until the API answers, and readiness depends on both.
    async fn become_ready(
        &self,
        client: &Client,
        expected: &Expected<'_>,
        identity: &Identity,
        running: &Running,
        spans: &mut Spans,
    ) -> Result<Milestones, Error> {
        let left = self.left();
        let api_url = expected.cluster.api_url();
        let etcd = self.connect_etcd(expected.cluster, identity, running).await?;
        let publish = async {
            let from = MonotonicTime::now();
            let authorities = identity.authorities(&api_url);
            let published = ca_publish::publish(client, &etcd, authorities, left).await;
            spans.record("publish the new CAs", from);
            published
        };
        let remove = nodes::remove_nodes(client, &self.launcher.baked, expected.cluster, left);
        let starting = Starting {
            running,
            client,
            expected,
            config: &self.config,
            exempt_before: None,
            log: self.log,
            limit: left,
        };
        let (published, removed, ready) = tokio::join!(publish, remove, starting.wait());
        let ready = ready?;
        // All of them time out together. The readiness timeout is the most detailed, so report that one.
        let milestones = ready.milestones.map_err(|timed_out| Error::NotReady {
            timed_out,
            diagnosis: Diagnosis::collect(running, expected.cluster, self.lock.dir()),
        })?;
        published?;
        removed?;
        ready.configured?;
        if config::changes_control_plane(&self.config) {
            static_pod_prestart::renew(running, expected.cluster);
        }
        Ok(milestones)
    }
}
