//! Nodes that were not baked, on their way into a running cluster.

use std::fs;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_cluster::api::etc_hosts;
use parbake_cluster::api::join::JoinToken;
use parbake_cluster::api::nodes::set_labels_and_taints;
use parbake_cluster::launch::boot_step;
use parbake_cluster::readiness::{DnsProbe, wait_until_joined};
use parbake_cluster::wait::TimedOut;
use parbake_cluster::{Client, Description, Node};
use parbake_machine::fs::files::failed;
use parbake_machine::plan::{SeedContent, SeedFile};
use parbake_machine::supervisor::Running;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::config::{self, Config, ConfigError};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::launch::Launcher;
use crate::recover::alive;
use crate::state::{ClusterLock, own_kubeconfig};

/// Nodes to join to a running cluster.
pub(crate) struct Join<'a> {
    pub(crate) lock: &'a ClusterLock,
    pub(crate) launcher: &'a Launcher,
    /// The cluster including the new nodes.
    pub(crate) cluster: &'a Description,
    pub(crate) new: &'a [Node],
    pub(crate) internet: bool,
    pub(crate) config: &'a Config,
    /// Limit until the nodes are ready.
    pub(crate) wait: Duration,
}

impl Join<'_> {
    /// Boots the machines of the new nodes, joins them and waits until they are ready. Returns the machines that run then.
    /// After an error, or if the future is dropped, [`crate::recover`] has to remove what is left.
    pub(crate) async fn run(&self, running: &Running, client: &Client) -> Result<Running, Error> {
        let (boot, started) = (Timestamp::now(), Instant::now());
        let path = own_kubeconfig(self.lock.dir());
        let kubeconfig = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let join_token = JoinToken::create(client, self.cluster, &kubeconfig);
        let (join_token, booted) = tokio::join!(join_token, self.boot(running));
        let join_token = join_token?;
        let joined = match booted {
            Ok(running) => match timeout(self.wait, self.join(&join_token, client, &running)).await {
                Ok(Ok(())) => Ok(running),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(self.not_ready(&running, self.join_timed_out())),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = join_token.revoke(client).await {
            tracing::warn!(%error, "could not delete a bootstrap token; it will expire");
        }
        let running = joined?;
        let left = self.wait.saturating_sub(started.elapsed());
        let probes = DnsProbe::for_nodes(&running, self.new)?;
        let ready = wait_until_joined(client, self.cluster, self.new, boot, probes, left).instrument(
            tracing::info_span!("step", what = "wait until the new nodes are ready"),
        );
        let settings = config::labels_and_taints(self.config, self.new);
        let (marked, ready) = tokio::join!(set_labels_and_taints(client, &settings, left), ready);
        ready.map_err(|timed_out| self.not_ready(&running, timed_out))?;
        marked.map_err(ConfigError::Cluster)?;
        Ok(running)
    }

    fn not_ready(&self, running: &Running, timed_out: TimedOut) -> Error {
        Error::NotReady {
            timed_out,
            diagnosis: Diagnosis::collect(running, self.cluster, self.lock.dir()),
        }
    }

    /// kubeadm itself would wait longer than the user's limit.
    fn join_timed_out(&self) -> TimedOut {
        TimedOut {
            what: "the new nodes to join".to_owned(),
            limit: self.wait,
            last: "kubeadm is running".to_owned(),
        }
    }

    async fn boot(&self, running: &Running) -> Result<Running, Error> {
        let (dir, files) = (self.lock.dir().to_owned(), || vec![new_machine_id()]);
        let machines =
            self.launcher
                .plan_joining(&dir, self.cluster, self.new, self.internet, self.config, files)?;
        let running = running.clone();
        let booted = spawn_blocking(move || running.add(&dir, machines));
        match booted.instrument(boot_step(self.new.len())).await {
            Ok(outcome) => Ok(outcome?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn join(&self, join_token: &JoinToken, client: &Client, running: &Running) -> Result<(), Error> {
        join_token.create_nodes(client, self.new).await?;
        let others = alive(running, self.cluster.nodes(), self.new);
        etc_hosts::add(running, &others, self.new).await?;
        let settings = |node: &Node| config::join_settings(self.config, &node.name);
        let nodes: Vec<_> = self.new.iter().map(|node| (node, settings(node))).collect();
        join_token.join(running, &nodes).await?;
        Ok(())
    }
}

/// A new machine id, a version 4 UUID like those of systemd (machine-id(5)). Without one systemd would treat the boot as the
/// machine's first and reset its units to their presets.
fn new_machine_id() -> SeedFile {
    SeedFile {
        path: "etc/machine-id".into(),
        content: SeedContent::File {
            mode: 0o444,
            text: format!("{}\n", Uuid::new_v4().simple()),
        },
    }
}
