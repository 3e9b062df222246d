//! A later start of a cluster: the same machines, identity and data.
//!
//! Nothing is made anew but what ended with the machines. The API answers at the same port of the host if that is free.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::Store;
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::readiness::{DnsProbe, Expected, wait_until_ready};
use parbake_cluster::{Node, NodeName, connect_file, labels_and_taints};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::{Running, Stopped};
use tracing::Instrument;

use crate::config::{self, Config, ConfigError};
use crate::events::Log;
use crate::host_ports;
use crate::kubeconfig::update_contexts;
use crate::layer_stacks::{stack_of, stacks};
use crate::lifecycle::StartReport;
use crate::recover::recover;
use crate::services_ready;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase, Record, host_id, own_kubeconfig};
use crate::static_pod_prestart;
use crate::{ClusterName, Diagnosis, Error};

/// What a later start follows from.
#[derive(Debug)]
pub(crate) struct Again<'a> {
    pub(crate) name: &'a ClusterName,
    pub(crate) dir: &'a Path,
    pub(crate) wait: Duration,
    pub(crate) supervise: &'a Cmd,
}

impl Again<'_> {
    /// Boots the machines, none of which may run, and waits until everything is ready. When that takes too long they go on
    /// all the same: whoever is to mend the cluster must be able to enter it. After any other error nothing runs.
    pub(crate) async fn start(&self, claim: &ClusterLock, mut record: Record) -> Result<StartReport, Error> {
        let started = Instant::now();
        let boot = Timestamp::now();
        let host = Host::detect(self.dir).require(Purpose::Up)?;
        record.cluster.suits(&host)?;
        if record.internet {
            host.require_internet()?;
        }
        let store = Store::open(&self.dir.join("store"))?;
        let artifact = store.get_by_digest(&record.tag, &record.artifact)?;
        let stacks = stacks(&store, &artifact, &record.cluster)?;
        let config = config::load(claim.dir(), &record.cluster, false)?;
        record.phase = Phase::Restarting;
        record.booted = Some(boot);
        claim.write(&record)?;
        let work = async {
            let running = self.boot(claim, &record, &config, &stacks, &host)?;
            self.moved(claim, &mut record, &running)?;
            self.wait(claim, record, &config, &running, started).await
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = interrupted() => Err(Error::Interrupted),
        };
        match &outcome {
            Ok(_) => host.remember(),
            Err(Error::RunningNotReady { .. }) => {}
            Err(_) => give_up(claim),
        }
        outcome
    }

    fn boot(
        &self,
        claim: &ClusterLock,
        record: &Record,
        config: &Config,
        stacks: &[(NodeName, Vec<PathBuf>)],
        host: &Host,
    ) -> Result<Running, Error> {
        let cluster = &record.cluster;
        let what = match cluster.nodes().len() {
            1 => "boot 1 machine".to_owned(),
            count => format!("boot {count} machines"),
        };
        let _step = tracing::info_span!("step", what).entered();
        let surroundings = LaunchContext {
            id: &host_id(self.name, claim),
            dir: claim.dir(),
            host: &host.decide(),
            forwards: host_ports::forwards(record),
            internet: record.internet,
            end_with_parent: false,
            again: true,
        };
        let stack = |node: &Node| stack_of(stacks, node);
        let plan = machine_plan::plan(cluster, surroundings, stack, |_| Vec::new())?;
        let plan = config::configure(plan, config, cluster, true)?;
        Ok(Running::start(&plan, self.supervise)?)
    }

    /// Whoever got the kubeconfig by its path finds the API wherever it is.
    fn moved(&self, claim: &ClusterLock, record: &mut Record, running: &Running) -> Result<(), Error> {
        self.registry_moved(claim, record, running)?;
        let api = running.ports()[0];
        if record.api == Some(api) {
            return Ok(());
        }
        if let Some(last) = record.api {
            tracing::warn!("`{last}` is taken: the API is at `{api}` now, and so does the kubeconfig say");
        }
        claim.set_kubeconfig_server(&format!("https://{api}"))?;
        update_contexts(claim.dir(), self.name);
        record.api = Some(api);
        claim.write(record)
    }

    fn registry_moved(
        &self,
        claim: &ClusterLock,
        record: &mut Record,
        running: &Running,
    ) -> Result<(), Error> {
        let registry = host_ports::registry(&record.cluster, running.ports());
        if record.registry == registry {
            return Ok(());
        }
        if let (Some(last), Some(registry)) = (record.registry, registry) {
            tracing::warn!("`{last}` is taken: the registry is at `{registry}` now");
        }
        record.registry = registry;
        claim.write(record)
    }

    /// Waits until machines that run are ready.
    pub(crate) async fn wait(
        &self,
        claim: &ClusterLock,
        mut record: Record,
        config: &Config,
        running: &Running,
        started: Instant,
    ) -> Result<StartReport, Error> {
        let client = connect_file(&own_kubeconfig(claim.dir())).await?;
        let expected = Expected {
            cluster: &record.cluster,
            boot: record.booted.unwrap_or(record.created),
            started,
        };
        let vantages = DnsProbe::of_machines(running, expected.cluster)?;
        let left = self.wait.saturating_sub(started.elapsed());
        let marks = config::labels_and_taints(config, record.cluster.nodes());
        let tell = Log::of(self.dir, self.name).milestones();
        let ready = wait_until_ready(&client, &expected, vantages, left, tell).instrument(
            tracing::info_span!("step", what = "wait until everything is ready"),
        );
        let vantages = DnsProbe::of_machines(running, expected.cluster)?;
        let offered = services_ready::answer(running, expected.cluster, &vantages, left);
        let exempt = config::exempt_namespaces(config, &client, Some(record.created), left);
        let mark = labels_and_taints::set(&client, &marks, left);
        let (marked, exempted, ready, offered) = tokio::join!(mark, exempt, ready, offered);
        let ready = ready.and_then(|milestones| offered.map(|()| milestones));
        let ready = ready.map_err(|timed_out| Error::RunningNotReady {
            name: self.name.clone(),
            timed_out,
            diagnosis: Diagnosis::collect(running, expected.cluster, claim.dir()),
        });
        record.phase = Phase::Up;
        claim.write(&record)?;
        let ready = ready?;
        marked.map_err(ConfigError::Marks)?;
        exempted?;
        recover(claim, &mut record, running.clone(), &client).await?;
        static_pod_prestart::renew(running, &record.cluster);
        Ok(StartReport {
            milestones: Some(ready),
            record,
        })
    }
}

/// What failed says why; what is in the way of ending it comes second, and the next command tries again.
fn give_up(claim: &ClusterLock) {
    if let Err(error) = Stopped::ensure(claim.dir()) {
        tracing::warn!(%error, "could not end what the failed start left");
    }
}
