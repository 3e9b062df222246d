//! The states of a cluster and the transitions between them.
//!
//! ```text
//!            create          start            pause
//! (nothing) -------> created -----> running ---------> paused
//!                                   |  ^  ^            |
//!                              stop |  |  +------------+ unpause
//!                                   v  | start
//!                                  stopped        `down` from any state: nothing
//! ```
//!
//! Only the [`Phase`] is recorded; everything else is asked of the host. A command that is killed in between leaves one of these
//! states, because the supervisor ends the machines and the kernel pauses them.

use std::path::Path;
use std::time::{Duration, Instant};

use parbake_artifact::Tag;
use parbake_cluster::model::machine_plan;
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::{Description, Node, NodeName, connect_file};
use parbake_machine::fs::{Dirs, tmpfs};
use parbake_machine::supervisor::{LOG, Running, Stopped};

use crate::clusters::{ClusterState, cluster_state};
use crate::config::{self, ConfigRequest};
use crate::egress;
use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::launch::{mark_used, trusted_artifact};
use crate::name::ClusterName;
use crate::recover::recover;
use crate::restart::{StartOptions, StartReport, start_again, wait_until_ready};
use crate::state::{ClusterLock, Phase, Record, own_kubeconfig, sweep_freezes};
use crate::thaw::{self, first_start};

/// How long the API may take to answer after a pause.
const API_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a cluster without starting it.
///
/// # Errors
/// There is a cluster of this name, there is no such artifact, the signature policy rejects it, or the requested configuration
/// is invalid.
pub fn create(
    state: &Path,
    name: &ClusterName,
    tag: Tag,
    config: &ConfigRequest,
    internet: bool,
) -> Result<Record, Error> {
    let (store, artifact) = trusted_artifact(state, &tag, None)?;
    let baked = Description::from_artifact(&artifact.config.cluster)?;
    let (config, cluster) = config.resolve(&baked)?;
    if internet {
        egress::require_ipv4(&cluster)?;
    }
    let lock = ClusterLock::for_new(state, name)?;
    mark_used(&store, &artifact);
    // The record comes last: without it there is no cluster.
    config::store(lock.dir(), &config)?;
    let record = Record::new(Phase::Created, &artifact, cluster, internet);
    lock.write(&record)?;
    Log::of(state, name).record(EventKind::Created {
        artifact: record.tag.clone(),
        nodes: record.cluster.nodes().len(),
    });
    Ok(record)
}

/// Starts a cluster, with the identity and data that it had, and waits until it is ready. Leaves a running cluster alone.
///
/// # Errors
/// The first step that failed. A cluster that was ready before keeps running if it is not ready in time
/// ([`Error::RunningNotReady`]) and is stopped otherwise. One that was never ready is created, but not started.
pub async fn start(options: &StartOptions) -> Result<StartReport, Error> {
    sweep_freezes(&options.dir)?;
    let (lock, mut record) = ClusterLock::existing(&options.dir, &options.name)?;
    match cluster_state(lock.dir(), &record)? {
        (ClusterState::Running, Some(running)) => {
            if !record.changes.is_empty() {
                let client = connect_file(&own_kubeconfig(lock.dir())).await?;
                recover(&lock, &mut record, running, &client).await?;
            }
            Ok(StartReport {
                record,
                milestones: None,
            })
        }
        (ClusterState::Paused, Some(_)) => Err(Error::Paused {
            name: options.name.clone(),
        }),
        // A restart was killed after its machines had been started.
        (ClusterState::Starting, Some(running))
            if record.phase == Phase::Restarting && running.all_alive() =>
        {
            let outcome = async {
                let config = config::load(lock.dir(), &record.cluster, false)?;
                wait_until_ready(options, &lock, record, &config, &running, Instant::now()).await
            };
            let outcome = outcome.await;
            record_end(options, &outcome);
            outcome
        }
        _ => {
            let record = end(&lock, record)?;
            start_stopped(options, &lock, record).await
        }
    }
}

/// Starts a cluster that does not run, and logs the events of it.
async fn start_stopped(
    options: &StartOptions,
    lock: &ClusterLock,
    record: Record,
) -> Result<StartReport, Error> {
    let nodes = record.cluster.nodes().len();
    Log::of(&options.dir, &options.name).record(EventKind::Starting { nodes });
    let outcome = match record.phase {
        Phase::Created => start_created(options, lock, record).await,
        _ => start_again(options, lock, record).await,
    };
    record_end(options, &outcome);
    outcome
}

fn record_end(options: &StartOptions, outcome: &Result<StartReport, Error>) {
    let ready = |started: &StartReport| started.milestones.map(|times| times.ready).unwrap_or_default();
    Log::of(&options.dir, &options.name).record_end_of_start(outcome.as_ref().map(ready));
}

async fn start_created(
    options: &StartOptions,
    lock: &ClusterLock,
    record: Record,
) -> Result<StartReport, Error> {
    let thaw = thaw::Options {
        tag: record.tag.clone(),
        name: options.name.clone(),
        config: ConfigRequest::default(),
        internet: record.internet,
        wait: options.wait,
        dir: options.dir.clone(),
        supervise: options.supervise.clone(),
        timings: false,
        probe: false,
    };
    match first_start(&thaw, lock, record.clone()).await {
        Ok(thawed) => Ok(StartReport {
            record: thawed.record,
            milestones: Some(thawed.milestones),
        }),
        Err(error) => {
            if let Err(error) = end(lock, record) {
                // The user sees why the start failed; the next command cleans up.
                tracing::warn!(%error, "could not remove what the failed start left");
            }
            Err(error)
        }
    }
}

/// Stops a cluster's machines in order and keeps their files. Returns false if none ran.
///
/// # Errors
/// There is no such cluster, another command works on it, or a machine could not be ended.
pub fn stop(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    sweep_freezes(state)?;
    let (lock, record) = ClusterLock::existing(state, name)?;
    let (_, ran) = end_and_record(&Log::of(state, name), &lock, record)?;
    Ok(ran)
}

/// Stops a running cluster and starts it again, or starts a stopped one.
///
/// # Errors
/// See [`stop`] and [`start`].
pub async fn restart(options: &StartOptions) -> Result<StartReport, Error> {
    sweep_freezes(&options.dir)?;
    let (lock, record) = ClusterLock::existing(&options.dir, &options.name)?;
    let log = Log::of(&options.dir, &options.name);
    let (record, _) = end_and_record(&log, &lock, record)?;
    start_stopped(options, &lock, record).await
}

/// Ends what runs of a cluster, and logs the event. Returns false if nothing ran.
fn end_and_record(log: &Log, lock: &ClusterLock, record: Record) -> Result<(Record, bool), Error> {
    let (state, _) = cluster_state(lock.dir(), &record)?;
    let ran = !matches!(state, ClusterState::Created | ClusterState::Stopped);
    let record = end(lock, record)?;
    if ran {
        log.record(EventKind::Stopped);
    }
    Ok((record, ran))
}

/// Ends what runs of a cluster in any state. Returns its record afterwards.
fn end(lock: &ClusterLock, mut record: Record) -> Result<Record, Error> {
    let was_ready = matches!(record.phase, Phase::Up | Phase::Restarting);
    let mut lost = None;
    if was_ready && let Some(running) = Running::find(lock.dir())? {
        let _step = tracing::info_span!("step", what = "stop the machines").entered();
        let _stopped = running.shut_down()?;
        lock.sync()?;
        lost = node_without_etcd_memory(lock, &record.cluster);
    }
    let _stopped = Stopped::ensure(lock.dir())?;
    let phase = if was_ready { Phase::Up } else { Phase::Created };
    if phase == Phase::Created {
        lock.remove_machines()?;
    }
    if record.phase != phase {
        record.phase = phase;
        lock.write(&record)?;
    }
    match lost {
        Some(node) => Err(Error::EtcdStateLost {
            node,
            log: lock.dir().join(LOG),
        }),
        None => Ok(record),
    }
}

/// The first node that could not save the data that etcd had in memory.
fn node_without_etcd_memory(lock: &ClusterLock, cluster: &Description) -> Option<NodeName> {
    let lost = |node: &&Node| tmpfs::write_back_failed(&Dirs(&machine_plan::machine_dir(lock.dir(), node)));
    cluster.nodes().iter().find(lost).map(|node| node.name.clone())
}

/// Pauses a running cluster: it keeps its memory and uses no CPU. Returns false if it was paused already.
///
/// # Errors
/// There is no such cluster, another command works on it, it does not run, or the host cannot pause it.
pub fn pause(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    let (lock, record) = ClusterLock::existing(state, name)?;
    match cluster_state(lock.dir(), &record)? {
        (ClusterState::Paused, _) => Ok(false),
        (ClusterState::Stopping, _) => Err(Error::Stopping { name: name.clone() }),
        (_, Some(running)) => {
            running.pause()?;
            Log::of(state, name).record(EventKind::Paused);
            Ok(true)
        }
        (_, None) => Err(Error::NotRunning { name: name.clone() }),
    }
}

/// Resumes a paused cluster and waits until its API answers. Returns false if it was not paused.
///
/// # Errors
/// There is no such cluster, another command works on it, it does not run, or the API does not answer.
pub async fn unpause(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    let (lock, record) = ClusterLock::existing(state, name)?;
    match cluster_state(lock.dir(), &record)? {
        (ClusterState::Paused, Some(running)) => {
            running.unpause()?;
            Log::of(state, name).record(EventKind::Unpaused);
            let client = connect_file(&own_kubeconfig(lock.dir())).await?;
            wait_until_api(&client, API_TIMEOUT).await?;
            Ok(true)
        }
        (ClusterState::Stopping, _) => Err(Error::Stopping { name: name.clone() }),
        (_, Some(_)) => Ok(false),
        (_, None) => Err(Error::NotRunning { name: name.clone() }),
    }
}
