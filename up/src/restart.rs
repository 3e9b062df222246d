//! A later start of a cluster, with the machines, identity and data that it has.
//!
//! The API keeps its port on the host if that is free.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_cluster::connect_file;
use parbake_cluster::model::machine_plan::Boot;
use parbake_cluster::readiness::{Expected, Milestones};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::{Running, Stopped};

use crate::config::{self, Config};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::events::Log;
use crate::host_ports;
use crate::kubeconfig::update_contexts;
use crate::launch::{Launch, Launcher};
use crate::layer_stacks::LayerStacks;
use crate::name::ClusterName;
use crate::readiness::Starting;
use crate::recover::recover;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase, Record, host_id, own_kubeconfig};
use crate::static_pod_prestart;

/// What to start, and how.
#[derive(Debug)]
pub struct StartOptions {
    pub name: ClusterName,
    /// Limit for the whole start.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A running cluster after a start.
#[derive(Debug)]
pub struct StartReport {
    pub record: Record,
    /// Milestone times, counted from the start of the command; `None` if it already ran.
    pub milestones: Option<Milestones>,
}

/// Boots the machines of a stopped cluster and waits until it is ready.
///
/// # Errors
/// [`Error::RunningNotReady`] if it is not ready in time: it keeps running, so that it can be repaired. After any other error
/// nothing runs.
pub(crate) async fn start_again(
    options: &StartOptions,
    lock: &ClusterLock,
    mut record: Record,
) -> Result<StartReport, Error> {
    let started = Instant::now();
    let boot = Timestamp::now();
    let launcher = Launcher::for_record(&options.dir, &record)?;
    launcher.check(&record.cluster, record.internet)?;
    let stacks = launcher.stacks(&record.cluster)?;
    let config = config::load(lock.dir(), &record.cluster, false)?;
    record.phase = Phase::Restarting;
    record.booted = Some(boot);
    lock.write(&record)?;
    let work = async {
        let running = start_machines(options, lock, &record, &launcher, &stacks, &config)?;
        update_endpoints(options, lock, &mut record, running.ports())?;
        wait_until_ready(options, lock, record, &config, &running, started).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = interrupted() => Err(Error::Interrupted),
    };
    match &outcome {
        Ok(_) => launcher.remember_host(),
        Err(Error::RunningNotReady { .. }) => {}
        Err(_) => {
            if let Err(error) = Stopped::ensure(lock.dir()) {
                // The user sees why the start failed; the next command cleans up.
                tracing::warn!(%error, "could not end what the failed start left");
            }
        }
    }
    outcome
}

fn start_machines(
    options: &StartOptions,
    lock: &ClusterLock,
    record: &Record,
    launcher: &Launcher,
    stacks: &LayerStacks,
    config: &Config,
) -> Result<Running, Error> {
    let (running, _plan) = launcher.start(Launch {
        id: &host_id(&options.name, lock),
        dir: lock.dir(),
        cluster: &record.cluster,
        stacks,
        boot: Boot::Restart,
        forwards: host_ports::forwards(record),
        internet: record.internet,
        end_with_parent: false,
        files: &|_| Vec::new(),
        config: Some(config),
        supervise: &options.supervise,
    })?;
    Ok(running)
}

/// Records the host's ports that lead to the API and the registry. If the API moved, the kubeconfigs are updated.
fn update_endpoints(
    options: &StartOptions,
    lock: &ClusterLock,
    record: &mut Record,
    ports: &[SocketAddr],
) -> Result<(), Error> {
    let registry = host_ports::registry(&record.cluster, ports);
    if record.registry != registry {
        if let (Some(last), Some(now)) = (record.registry, registry) {
            tracing::warn!(
                "port {} is in use: the registry moved from `{last}` to `{now}`",
                last.port()
            );
        }
        record.registry = registry;
        lock.write(record)?;
    }
    let api = ports[0];
    if record.api == Some(api) {
        return Ok(());
    }
    if let Some(last) = record.api {
        tracing::warn!(
            "port {} is in use: the API moved from `{last}` to `{api}`, the kubeconfig is updated",
            last.port()
        );
    }
    lock.set_kubeconfig_server(&format!("https://{api}"))?;
    update_contexts(lock.dir(), &options.name);
    record.api = Some(api);
    lock.write(record)
}

/// Waits until a cluster whose machines run is ready.
pub(crate) async fn wait_until_ready(
    options: &StartOptions,
    lock: &ClusterLock,
    mut record: Record,
    config: &Config,
    running: &Running,
    started: Instant,
) -> Result<StartReport, Error> {
    let client = connect_file(&own_kubeconfig(lock.dir())).await?;
    let expected = Expected {
        cluster: &record.cluster,
        boot: record.booted.unwrap_or(record.created),
        started,
    };
    let starting = Starting {
        running,
        client: &client,
        expected: &expected,
        config,
        exempt_before: Some(record.created),
        log: &Log::of(&options.dir, &options.name),
        limit: options.wait.saturating_sub(started.elapsed()),
    };
    let ready = starting.wait().await?;
    let milestones = ready.milestones.map_err(|timed_out| Error::RunningNotReady {
        name: options.name.clone(),
        timed_out,
        diagnosis: Diagnosis::collect(running, expected.cluster, lock.dir()),
    });
    record.phase = Phase::Up;
    lock.write(&record)?;
    let milestones = milestones?;
    ready.configured?;
    host_ports::publish_registry(&client, &record.cluster, running.ports()).await;
    recover(lock, &mut record, running.clone(), &client).await?;
    static_pod_prestart::renew(running, &record.cluster);
    Ok(StartReport {
        milestones: Some(milestones),
        record,
    })
}
