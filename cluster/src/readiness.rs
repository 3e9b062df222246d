//! Waiting until a cluster is honestly ready.
//!
//! The database of a thawed cluster says 'Ready' from the day of its bake. So only evidence that is newer
//! than this boot counts:
//!
//! | what | evidence |
//! |---|---|
//! | the API | `/readyz` says ok |
//! | each node | its lease is renewed since boot, its kubelet has posted Ready since boot, and no taint says otherwise |
//! | each pod | all containers started since boot and ready; none is waiting for a node |
//! | each replica set | all its pods exist |
//! | DNS | the API's name is answered through the DNS service address, asked from each node |
//!
//! [`judge`] decides on nodes and pods, without a clock or a network of its own. Nodes that join later are judged by
//! [`wait_until_arrived`].

mod arrival;
mod dns;
mod evidence;
mod judge;
mod missing;
mod observe;
mod pods;

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use arrival::wait_until_arrived;
pub use dns::DnsProbe;
pub(crate) use dns::Question;
pub use evidence::Since;
pub(crate) use judge::node_reason;
pub use judge::{Observed, Verdict, judge};
pub use missing::Missing;
pub(crate) use observe::{NODE_LEASES, observe};

use crate::description::Description;
use crate::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};
use dns::DnsWatch;
use observe::readyz;

/// The pause between two looks at the API. Its answers come from its watch cache and cost it little.
const PAUSE: Duration = Duration::from_millis(50);
/// How long `/readyz` may take. Less than a whole look may, so that a look says something even while the way to the API
/// is open and nobody answers.
const ANSWER: Duration = Duration::from_millis(2500);

/// What is expected to become ready, and since when.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The cluster, with those of its nodes that run.
    pub cluster: &'a Description,
    /// The nodes' clock when the first machine was started; in containers that is the host's clock.
    ///
    /// Kubernetes tells the start of containers and the kubelet's reports in whole seconds, so what happened
    /// earlier in the very second of the boot counts as newer. A stop takes longer than that; whoever starts
    /// machines less than a second after killing them must wait that second.
    pub boot: Timestamp,
    /// What [`Milestones`] are counted from.
    pub started: Instant,
}

/// A part of the way to readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Milestone {
    /// `/readyz` says ok.
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

/// When each part was first seen ready, counted from [`Expected::started`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestones {
    /// `/readyz` said ok.
    pub api: Duration,
    /// All nodes were ready.
    pub nodes: Duration,
    /// DNS answered on all nodes.
    pub dns: Duration,
    /// All pods were ready.
    pub pods: Duration,
    /// Everything was, in one look.
    pub ready: Duration,
}

impl Milestones {
    /// Counts in nodes that joined later, and were all ready at `time`. The API was there before.
    pub fn all_at(&mut self, time: Duration) {
        let api = self.api;
        *self = Self {
            api,
            nodes: time,
            dns: time,
            pods: time,
            ready: time,
        };
    }
}

/// Waits until `/readyz` says ok.
///
/// # Errors
/// [`TimedOut`] with the API's last answer.
pub async fn wait_until_api(client: &Client, limit: Duration) -> Result<(), TimedOut> {
    Wait::new("the API to be ready", limit)
        .pause(PAUSE)
        .until(|| async {
            match readyz(client).await {
                Ok(()) => Poll::Seen(()),
                Err(answer) => Poll::Pending(answer),
            }
        })
        .await
}

/// Waits until the cluster's DNS has answered all of `vantages`, one on each node, through its service address.
///
/// # Errors
/// [`TimedOut`] that lists the nodes without an answer.
pub async fn wait_until_dns(
    cluster: &Description,
    vantages: Vec<DnsProbe>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let watch = DnsWatch::start(cluster, vantages);
    Wait::new("DNS to answer", limit)
        .pause(PAUSE)
        .until(|| async {
            let missing = watch.missing();
            if missing.is_empty() {
                Poll::Seen(())
            } else {
                Poll::Pending(missing::list(&missing))
            }
        })
        .await
}

/// Waits until the cluster is ready. `reached` is told each milestone as it is passed.
///
/// `vantages` must hold one vantage for every node of the cluster: DNS is asked for from each.
///
/// # Errors
/// [`TimedOut`] that lists all that is still missing.
pub async fn wait_until_ready(
    client: &Client,
    expected: &Expected<'_>,
    vantages: Vec<DnsProbe>,
    limit: Duration,
    reached: impl FnMut(Milestone, Duration) + Send,
) -> Result<Milestones, TimedOut> {
    let nodes: Vec<NodeName> = expected
        .cluster
        .nodes()
        .iter()
        .map(|node| node.name.clone())
        .collect();
    let dns = DnsWatch::start(expected.cluster, vantages);
    let log = Mutex::new(Log {
        started: expected.started,
        times: [None; 4],
        reached,
    });
    Wait::new("the cluster to be ready", limit)
        .pause(PAUSE)
        .until(|| look(client, &nodes, expected.boot, &dns, &log))
        .await
}

async fn look(
    client: &Client,
    nodes: &[NodeName],
    boot: Timestamp,
    dns: &DnsWatch,
    log: &Mutex<Log<impl FnMut(Milestone, Duration) + Send>>,
) -> Poll<Milestones> {
    let mut missing = Vec::new();
    let no_dns = dns.missing();
    let mut passed = vec![(Milestone::Dns, no_dns.is_empty())];
    let answer = timeout(ANSWER, readyz(client)).await;
    match answer.unwrap_or_else(|_| Err("no answer".to_owned())) {
        Err(answer) => missing.push(Missing::Api { answer }),
        Ok(()) => {
            passed.push((Milestone::Api, true));
            match observe(client).await {
                Err(error) => missing.push(Missing::Api { answer: error.line() }),
                Ok(observed) => {
                    let verdict = judge(
                        &observed,
                        nodes,
                        &Since {
                            boot,
                            now: Timestamp::now(),
                        },
                    );
                    passed.push((Milestone::Nodes, verdict.nodes.is_empty()));
                    passed.push((Milestone::Pods, verdict.pods.is_empty()));
                    missing.extend(verdict.nodes);
                    missing.extend(verdict.pods);
                }
            }
        }
    }
    missing.extend(no_dns);
    let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (milestone, _) in passed.into_iter().filter(|(_, passed)| *passed) {
        log.pass(milestone);
    }
    match log.all() {
        Some(milestones) if missing.is_empty() => Poll::Seen(milestones),
        _ => Poll::Pending(missing::list(&missing)),
    }
}

/// When each milestone was passed first.
struct Log<R> {
    started: Instant,
    times: [Option<Duration>; 4],
    reached: R,
}

impl<R: FnMut(Milestone, Duration)> Log<R> {
    fn pass(&mut self, milestone: Milestone) {
        let elapsed = self.started.elapsed();
        let time = &mut self.times[milestone as usize];
        if time.is_none() {
            *time = Some(elapsed);
            (self.reached)(milestone, elapsed);
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

    use super::{Expected, Log, Milestone, wait_until_ready};
    use crate::addressing::Subnets;
    use crate::client::connect;
    use crate::description::{Description, Role};
    use crate::name::{ClusterDomain, NodeName};

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
    fn a_milestone_is_passed_once() {
        let mut told = Vec::new();
        let mut log = Log {
            started: Instant::now(),
            times: [None; 4],
            reached: |milestone, _| told.push(milestone),
        };
        log.pass(Milestone::Api);
        log.pass(Milestone::Api);
        log.pass(Milestone::Nodes);
        log.pass(Milestone::Dns);
        assert_eq!(log.all(), None);
        log.pass(Milestone::Pods);
        let all = log.all().unwrap();
        assert!(all.api <= all.pods && all.pods <= all.ready);
        assert_eq!(
            told,
            [Milestone::Api, Milestone::Nodes, Milestone::Dns, Milestone::Pods]
        );
    }

    /// Nobody listens there: the time-out says so, and can be awaited on any thread.
    #[tokio::test]
    async fn the_time_out_says_what_is_missing() {
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
        assert!(
            error.contains("\n  DNS on node `node01`: no place to ask from"),
            "{error}"
        );
        assert!(
            error.contains("\n  API: ") && error.to_lowercase().contains("connection refused"),
            "{error}"
        );
    }
}
