//! The way of nodes that were not baked into a cluster that runs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_cluster::join::Invitation;
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::readiness::{DnsProbe, wait_until_arrived};
use parbake_cluster::wait::TimedOut;
use parbake_cluster::{Client, Description, Node, hosts, labels_and_taints};
use parbake_machine::fs::files::failed;
use parbake_machine::host::HostSettings;
use parbake_machine::plan::{SeedContent, SeedFile};
use parbake_machine::supervisor::Running;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::config::{self, Config, ConfigError};
use crate::recover::alive;
use crate::state::{ClusterLock, own_kubeconfig};
use crate::{Diagnosis, Error};

/// Nodes that are to join.
pub(crate) struct Join<'a> {
    pub(crate) claim: &'a ClusterLock,
    pub(crate) host: &'a HostSettings,
    /// The cluster with them.
    pub(crate) cluster: &'a Description,
    pub(crate) new: &'a [Node],
    /// The unpacked layers that all machines share, bottom first.
    pub(crate) layers: &'a [PathBuf],
    /// Whether the cluster has a way to the outside.
    pub(crate) internet: bool,
    /// What nodes are to be beyond what was baked.
    pub(crate) config: &'a Config,
    /// How long it may take until they are ready.
    pub(crate) wait: Duration,
}

impl Join<'_> {
    /// Boots the nodes' machines beside those of `running`, has them join and waits until they are ready; gives what runs
    /// then. After an error, and where this is dropped half-way, there is something left for [`super::recover`].
    pub(crate) async fn run(&self, running: &Running, client: &Client) -> Result<Running, Error> {
        let (boot, started) = (Timestamp::now(), Instant::now());
        let path = own_kubeconfig(self.claim.dir());
        let kubeconfig = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let invited = Invitation::issue(client, self.cluster, &kubeconfig);
        let (invitation, booted) = tokio::join!(invited, self.boot(running));
        let invitation = invitation?;
        let joined = match booted {
            Ok(running) => match timeout(self.wait, self.join(&invitation, client, &running)).await {
                Ok(Ok(())) => Ok(running),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(self.not_ready(&running, self.stuck())),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = invitation.withdraw(client).await {
            tracing::warn!(%error, "could not delete a bootstrap token; it expires by itself");
        }
        let running = joined?;
        let left = self.wait.saturating_sub(started.elapsed());
        let vantages = DnsProbe::of_nodes(&running, self.new)?;
        let ready = wait_until_arrived(client, self.cluster, self.new, boot, vantages, left).instrument(
            tracing::info_span!("step", what = "wait until the new nodes are ready"),
        );
        let marks = config::labels_and_taints(self.config, self.new);
        let (marked, ready) = tokio::join!(labels_and_taints::set(client, &marks, left), ready);
        ready.map_err(|timed_out| self.not_ready(&running, timed_out))?;
        marked.map_err(ConfigError::Marks)?;
        Ok(running)
    }

    fn not_ready(&self, running: &Running, timed_out: TimedOut) -> Error {
        let diagnosis = Diagnosis::collect(running, self.cluster, self.claim.dir());
        Error::NotReady { timed_out, diagnosis }
    }

    /// kubeadm has more patience than whoever waits for it.
    fn stuck(&self) -> TimedOut {
        TimedOut {
            what: "the new nodes to join".to_owned(),
            limit: self.wait,
            last: "kubeadm at work".to_owned(),
        }
    }

    async fn boot(&self, running: &Running) -> Result<Running, Error> {
        let what = match self.new.len() {
            1 => "boot 1 machine".to_owned(),
            count => format!("boot {count} machines"),
        };
        let surroundings = LaunchContext {
            // What belongs to the cluster as a whole is its supervisor's by now.
            id: "",
            dir: self.claim.dir(),
            host: self.host,
            forwards: Vec::new(),
            internet: self.internet,
            end_with_parent: false,
            again: false,
        };
        let machine = |node: &Node| {
            let layers = self.layers.to_vec();
            let mut machine =
                machine_plan::machine(self.cluster, &surroundings, node, layers, vec![machine_id()])?;
            config::configure_machine(&mut machine, self.config, self.cluster, node, self.host, false)?;
            Ok::<_, Error>(machine)
        };
        let machines = self.new.iter().map(machine).collect::<Result<Vec<_>, _>>()?;
        let (running, dir) = (running.clone(), self.claim.dir().to_owned());
        let booted = spawn_blocking(move || running.add(&dir, machines));
        match booted.instrument(tracing::info_span!("step", what)).await {
            Ok(outcome) => Ok(outcome?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn join(&self, invitation: &Invitation, client: &Client, running: &Running) -> Result<(), Error> {
        invitation.announce(client, self.new).await?;
        let others = alive(running, self.cluster.nodes(), self.new);
        hosts::add(running, &others, self.new).await?;
        let settings = |node: &Node| config::join_settings(self.config, &node.name);
        let nodes: Vec<_> = self.new.iter().map(|node| (node, settings(node))).collect();
        invitation.join(running, &nodes).await?;
        Ok(())
    }
}

/// Version 4 of a UUID, as systemd makes its machine ids (machine-id(5)). A machine that has one is not on its first boot,
/// for which systemd would set its units anew.
fn machine_id() -> SeedFile {
    SeedFile {
        path: "etc/machine-id".into(),
        content: SeedContent::File {
            mode: 0o444,
            text: format!("{}\n", Uuid::new_v4().simple()),
        },
    }
}
