//! Waiting until a cluster is ready.
//!
//! The database of a thawed cluster says 'Ready' since its bake, so only evidence that is newer than this boot counts:
//!
//! | what | evidence |
//! |---|---|
//! | the API | `/readyz` succeeds |
//! | each node | its lease was renewed since boot, its kubelet has reported Ready since boot, and no taint contradicts it |
//! | each pod | all containers have started since boot and are ready; it has a node |
//! | each replica set and stateful set | all its pods exist |
//! | DNS | queries from each node for the API's name, through the DNS service address, are answered |
//!
//! Completed pods, and everything that is being deleted, do not count. [`evaluate()`] decides about nodes and pods as a pure
//! function. [`wait_until_joined`] is for nodes that join later.

mod component;
mod dns;
mod evaluate;
mod freshness;
mod joined;
mod not_ready;
mod observe;
mod pods;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::model::description::Description;
use crate::model::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};
pub use component::{wait_until_kubelet, wait_until_static_pod};
pub(crate) use dns::DnsQuery;
use dns::DnsWatch;
pub use dns::{DnsProbe, wait_until_node_dns};
pub use evaluate::{Evaluation, evaluate};
pub use freshness::EvidenceWindow;
pub use joined::wait_until_joined;
pub use not_ready::NotReady;
pub use observe::ApiSnapshot;
use observe::{observe, readyz};

/// The pause between two requests to the API, which answers them cheaply from its watch cache.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time for `/readyz`. Shorter than that of a whole attempt, so that an attempt has an outcome even if connections
/// are accepted but not answered.
const READYZ_TIMEOUT: Duration = Duration::from_millis(2500);

/// The cluster that is to become ready, and since when.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The cluster, with only the nodes that run.
    pub cluster: &'a Description,
    /// When the first machine was started, by the nodes' clock, which containers share with the host.
    ///
    /// Kubernetes truncates the start of containers and the kubelet's reports to seconds, so events of the same second
    /// before the boot count as newer. A shutdown takes longer than that; who kills machines and starts them again must wait
    /// for the next second.
    pub boot: Timestamp,
    /// The time that [`Milestones`] are counted from.
    pub started: Instant,
}

/// A step on the way to readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// `/readyz` succeeds.
    Api,
    /// All nodes are ready.
    Nodes,
    /// DNS answers on all nodes.
    Dns,
    /// All pods are ready.
    Pods,
}

impl fmt::Display for Milestone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Api => "API answers",
            Self::Nodes => "nodes ready",
            Self::Dns => "DNS answers",
            Self::Pods => "pods ready",
        })
    }
}

/// When each milestone was first reached, counted from [`Expected::started`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestones {
    pub api: Duration,
    pub nodes: Duration,
    pub dns: Duration,
    pub pods: Duration,
    /// When everything was ready at the same time.
    pub ready: Duration,
}

impl Milestones {
    /// Includes nodes that joined later and were all ready at `time`.
    pub fn count_joined(&mut self, time: Duration) {
        *self = Self {
            api: self.api,
            nodes: time,
            dns: time,
            pods: time,
            ready: time,
        };
    }
}

/// Waits until `/readyz` succeeds.
///
/// # Errors
/// [`TimedOut`] with the API's last answer.
pub async fn wait_until_api(client: &Client, limit: Duration) -> Result<(), TimedOut> {
    let wait = Wait::new("the API to be ready", limit).interval(POLL_INTERVAL);
    wait.until(|| async {
        match readyz(client).await {
            Ok(()) => Poll::Ready(()),
            Err(answer) => Poll::Pending(answer),
        }
    })
    .await
}

/// Waits until the cluster's DNS has answered all of `probes`, one for each node, through its service address.
///
/// # Errors
/// [`TimedOut`] with the nodes that got no answer.
pub async fn wait_until_dns(
    cluster: &Description,
    probes: Vec<DnsProbe>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let watch = DnsWatch::start(cluster, cluster.nodes(), probes);
    let wait = Wait::new("DNS to answer", limit).interval(POLL_INTERVAL);
    wait.until(|| async {
        let unanswered = watch.unanswered();
        match unanswered.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending(not_ready::list(&unanswered)),
        }
    })
    .await
}

/// Waits until the cluster is ready, and calls `on_reached` for each milestone. `probes` must hold one for every node of the
/// cluster.
///
/// # Errors
/// [`TimedOut`] with everything that is not ready.
pub async fn wait_until_ready(
    client: &Client,
    expected: &Expected<'_>,
    probes: Vec<DnsProbe>,
    limit: Duration,
    on_reached: impl FnMut(Milestone, Duration) + Send,
) -> Result<Milestones, TimedOut> {
    let nodes = expected.cluster.nodes();
    let names: Vec<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
    let dns = DnsWatch::start(expected.cluster, nodes, probes);
    let log = Mutex::new(MilestoneLog {
        started: expected.started,
        times: [None; 4],
        on_reached,
    });
    Wait::new("the cluster to be ready", limit)
        .interval(POLL_INTERVAL)
        .until(|| check(client, &names, expected.boot, &dns, &log))
        .await
}

async fn check(
    client: &Client,
    nodes: &[NodeName],
    boot: Timestamp,
    dns: &DnsWatch,
    log: &Mutex<MilestoneLog<impl FnMut(Milestone, Duration) + Send>>,
) -> Poll<Milestones> {
    let mut reasons = Vec::new();
    let unanswered = dns.unanswered();
    let mut reached = vec![(Milestone::Dns, unanswered.is_empty())];
    let answer = timeout(READYZ_TIMEOUT, readyz(client)).await;
    match answer.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Err(answer) => reasons.push(NotReady::Api { answer }),
        Ok(()) => {
            reached.push((Milestone::Api, true));
            match observe(client).await {
                Err(error) => reasons.push(NotReady::Api { answer: error.line() }),
                Ok(snapshot) => {
                    let evaluation = evaluate(&snapshot, nodes, &EvidenceWindow::until_now(boot));
                    reached.push((Milestone::Nodes, evaluation.nodes.is_empty()));
                    reached.push((Milestone::Pods, evaluation.pods.is_empty()));
                    reasons.extend(evaluation.nodes);
                    reasons.extend(evaluation.pods);
                }
            }
        }
    }
    reasons.extend(unanswered);
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    for (milestone, _) in reached.into_iter().filter(|(_, is_reached)| *is_reached) {
        log.record(milestone);
    }
    match log.all() {
        Some(milestones) if reasons.is_empty() => Poll::Ready(milestones),
        _ => Poll::Pending(not_ready::list(&reasons)),
    }
}

/// Records when each milestone was first reached.
struct MilestoneLog<R> {
    started: Instant,
    times: [Option<Duration>; 4],
    on_reached: R,
}

impl<R: FnMut(Milestone, Duration)> MilestoneLog<R> {
    fn record(&mut self, milestone: Milestone) {
        let elapsed = self.started.elapsed();
        let time = &mut self.times[milestone as usize];
        if time.is_none() {
            *time = Some(elapsed);
            (self.on_reached)(milestone, elapsed);
        }
    }

    fn all(&self) -> Option<Milestones> {
        let [api, nodes, dns, pods] = self.times;
        Some(Milestones {
            api: api?,
            nodes: nodes?,
            dns: dns?,
            pods: pods?,
            ready: self.started.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use jiff::Timestamp;

    use super::{Expected, Milestone, MilestoneLog, wait_until_ready};
    use crate::api::client::connect;
    use crate::model::addressing::Subnets;
    use crate::model::description::{Description, Role};
    use crate::model::name::{ClusterDomain, NodeName};

    fn cluster() -> Description {
        let [nodes, pods, services] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        let version = "v1.34.4".parse().unwrap();
        Subnets {
            nodes,
            pods,
            services,
        }
        .describe(version, ClusterDomain::default(), &names)
        .unwrap()
    }

    #[test]
    fn each_milestone_is_reported_once() {
        let mut reached = Vec::new();
        let mut log = MilestoneLog {
            started: Instant::now(),
            times: [None; 4],
            on_reached: |milestone, _| reached.push(milestone),
        };
        log.record(Milestone::Api);
        log.record(Milestone::Api);
        log.record(Milestone::Nodes);
        log.record(Milestone::Dns);
        assert_eq!(log.all(), None);
        log.record(Milestone::Pods);
        let all = log.all().unwrap();
        assert!(all.api <= all.pods && all.pods <= all.ready);
        assert_eq!(
            reached,
            [Milestone::Api, Milestone::Nodes, Milestone::Dns, Milestone::Pods]
        );
    }

    /// Nothing listens at the address; the future can also be awaited on any thread.
    #[tokio::test]
    async fn timeout_lists_everything_that_is_not_ready() {
        let config = "{apiVersion: v1, kind: Config, current-context: c, \
            contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}], \
            clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]}";
        let client = connect(config).await.unwrap();
        let error = tokio::spawn(async move {
            let cluster = cluster();
            let expected = Expected {
                cluster: &cluster,
                boot: Timestamp::now(),
                started: Instant::now(),
            };
            wait_until_ready(
                &client,
                &expected,
                Vec::new(),
                Duration::from_millis(300),
                |_, _| (),
            )
            .await
        });
        let error = error.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("\n  DNS on node `node01`: no probe"), "{error}");
        assert!(
            error.contains("\n  API: ") && error.to_lowercase().contains("connection refused"),
            "{error}"
        );
    }
}
