//! The states of a cluster, and the ways between them.
//!
//! ```text
//!            create          start            pause
//! (nothing) -------> created -----> running ---------> paused
//!                                   |  ^  ^            |
//!                              stop |  |  +------------+ unpause
//!                                   v  | start
//!                                  stopped        `down`, from everywhere: nothing again
//! ```
//!
//! Only `created` and what comes after it is written down ([`Phase`]); the rest is asked of the host. Whatever is killed on
//! its way leaves one of these states behind: the supervisor ends the machines, not the command that asked for it, and the
//! kernel makes them stand still.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parbake_artifact::{Store, Tag};
use parbake_cluster::readiness::{Milestones, wait_until_api};
use parbake_cluster::{Description, Node, NodeName, connect_file, machine_plan};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::tmpfs;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::LOG;
use parbake_machine::supervisor::{Running, Stopped};

use crate::clusters::condition;
use crate::config::{self, ConfigRequest};
use crate::egress;
use crate::events::{EventKind, Log};
use crate::layer_stacks::{allowed, mark_used};
use crate::recover::recover;
use crate::restart::Again;
use crate::state::sweep_freezes as sweep;
use crate::state::{ClusterLock, Phase, Record, own_kubeconfig};
use crate::thaw::Options;
use crate::thaw::first;
use crate::{ClusterName, ClusterState, Error};

/// How long the API may take to answer after a pause.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to start, and how.
#[derive(Debug)]
pub struct StartOptions {
    /// The cluster.
    pub name: ClusterName,
    /// How long it may take until the cluster is ready.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A cluster that runs after a start.
#[derive(Debug)]
pub struct StartReport {
    /// What it is.
    pub record: Record,
    /// When it passed what on its way, counted from the start of the command; nothing where it ran before.
    pub milestones: Option<Milestones>,
}

/// Writes a cluster down that can be started, and starts nothing. `internet` gives it a way to the outside.
///
/// # Errors
/// There is a cluster of this name or no such artifact, nobody trusted signed it, or it cannot be as it is `wanted`.
pub fn create(
    state: &Path,
    name: &ClusterName,
    tag: Tag,
    wanted: &ConfigRequest,
    internet: bool,
) -> Result<Record, Error> {
    let store = Store::open(&state.join("store"))?;
    let artifact = store.get(&tag)?;
    allowed(state, &store, &artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let (config, cluster) = wanted.resolve(&baked)?;
    egress::leads_out(internet, &cluster)?;
    let claim = ClusterLock::for_new(state, name)?;
    mark_used(&store, &tag);
    // First: what has no record is no cluster.
    config::store(claim.dir(), &config)?;
    let record = Record::new(Phase::Created, &artifact, cluster, internet);
    claim.write(&record)?;
    Log::of(state, name).record(EventKind::Created {
        artifact: record.tag.clone(),
        nodes: record.cluster.nodes().len(),
    });
    Ok(record)
}

/// Starts a cluster that does not run, with the identity and the data that it had, and waits until it is ready. One that
/// runs already is left alone.
///
/// # Errors
/// The first step that failed. A cluster that was never ready is as it was then; one that was runs all the same when it took
/// too long ([`Error::RunningNotReady`]), and is stopped otherwise.
pub async fn start(options: &StartOptions) -> Result<StartReport, Error> {
    sweep(&options.dir)?;
    let (claim, record) = ClusterLock::existing(&options.dir, &options.name)?;
    let (state, running) = condition(claim.dir(), &record)?;
    match (state, running) {
        (ClusterState::Running, Some(running)) => {
            let mut record = record;
            if !record.changes.is_empty() {
                let client = connect_file(&own_kubeconfig(claim.dir())).await?;
                recover(&claim, &mut record, running, &client).await?;
            }
            Ok(StartReport {
                record,
                milestones: None,
            })
        }
        (ClusterState::Paused, Some(_)) => Err(Error::Paused {
            name: options.name.clone(),
        }),
        // Of a start that was killed.
        (ClusterState::Starting, Some(running))
            if record.phase == Phase::Restarting && running.all_alive() =>
        {
            let again = again(options);
            let work = async {
                let config = config::load(claim.dir(), &record.cluster, false)?;
                again
                    .wait(&claim, record, &config, &running, Instant::now())
                    .await
            };
            let outcome = work.await;
            tell_end(options, &outcome);
            outcome
        }
        _ => {
            let record = end(&claim, record)?;
            start_stopped(options, &claim, record).await
        }
    }
}

fn again(options: &StartOptions) -> Again<'_> {
    Again {
        name: &options.name,
        dir: &options.dir,
        wait: options.wait,
        supervise: &options.supervise,
    }
}

/// Starts what was ended before, and writes it down as an event.
async fn start_stopped(
    options: &StartOptions,
    claim: &ClusterLock,
    record: Record,
) -> Result<StartReport, Error> {
    let nodes = record.cluster.nodes().len();
    Log::of(&options.dir, &options.name).record(EventKind::Starting { nodes });
    let outcome = boot(options, claim, record).await;
    tell_end(options, &outcome);
    outcome
}

fn tell_end(options: &StartOptions, outcome: &Result<StartReport, Error>) {
    let ready = |started: &StartReport| started.milestones.map(|times| times.ready).unwrap_or_default();
    Log::of(&options.dir, &options.name).ended(outcome.as_ref().map(ready));
}

async fn boot(options: &StartOptions, claim: &ClusterLock, record: Record) -> Result<StartReport, Error> {
    if record.phase != Phase::Created {
        return again(options).start(claim, record).await;
    }
    let thaw = Options {
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
    match first(&thaw, claim, record.clone()).await {
        Ok(thawed) => Ok(StartReport {
            record: thawed.record,
            milestones: Some(thawed.milestones),
        }),
        Err(error) => {
            // What failed says why; what is in the way of ending it comes second, and the next command tries again.
            if let Err(error) = end(claim, record) {
                tracing::warn!(%error, "could not remove what the failed start left");
            }
            Err(error)
        }
    }
}

/// Ends a cluster's machines in order and keeps their files; says whether anything ran.
///
/// # Errors
/// There is none of this name, another command works on it, or something could not be ended.
pub fn stop(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    sweep(state)?;
    let (claim, record) = ClusterLock::existing(state, name)?;
    let (_, ran) = end_and_tell(&Log::of(state, name), &claim, record)?;
    Ok(ran)
}

/// Ends what runs of a cluster, and writes it down as an event; says whether anything ran.
fn end_and_tell(log: &Log, claim: &ClusterLock, record: Record) -> Result<(Record, bool), Error> {
    let (state, _) = condition(claim.dir(), &record)?;
    let ran = !matches!(state, ClusterState::Created | ClusterState::Stopped);
    let record = end(claim, record)?;
    if ran {
        log.record(EventKind::Stopped);
    }
    Ok((record, ran))
}

/// Ends a cluster's machines in order if they run, and starts it.
///
/// # Errors
/// See [`stop`] and [`start`].
pub async fn restart(options: &StartOptions) -> Result<StartReport, Error> {
    sweep(&options.dir)?;
    let (claim, record) = ClusterLock::existing(&options.dir, &options.name)?;
    let log = Log::of(&options.dir, &options.name);
    let (record, _) = end_and_tell(&log, &claim, record)?;
    start_stopped(options, &claim, record).await
}

/// Ends what runs of a cluster, in whatever state it is; gives what is written down then.
fn end(claim: &ClusterLock, mut record: Record) -> Result<Record, Error> {
    let was_ready = matches!(record.phase, Phase::Up | Phase::Restarting);
    let mut lost = None;
    if was_ready && let Some(running) = Running::find(claim.dir())? {
        let _step = tracing::info_span!("step", what = "end what runs in order").entered();
        let _stopped = running.shut_down()?;
        claim.sync()?;
        lost = lost_memory(claim, &record.cluster);
    }
    let _stopped = Stopped::ensure(claim.dir())?;
    let phase = if was_ready { Phase::Up } else { Phase::Created };
    if phase == Phase::Created {
        claim.remove_machines()?;
    }
    if record.phase != phase {
        record.phase = phase;
        claim.write(&record)?;
    }
    match lost {
        Some(node) => Err(Error::EtcdStateLost {
            node,
            log: claim.dir().join(LOG),
        }),
        None => Ok(record),
    }
}

/// The first node that could not put back what it had in memory.
fn lost_memory(claim: &ClusterLock, cluster: &Description) -> Option<NodeName> {
    let lost = |node: &&Node| tmpfs::write_back_failed(&Dirs(&machine_plan::machine_dir(claim.dir(), node)));
    cluster.nodes().iter().find(lost).map(|node| node.name.clone())
}

/// Makes a running cluster stand still: it keeps its memory and uses no processor. Says whether it went before.
///
/// # Errors
/// There is none of this name, another command works on it, it does not run, or the host cannot do it.
pub fn pause(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    let (claim, record) = ClusterLock::existing(state, name)?;
    match condition(claim.dir(), &record)? {
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

/// Lets a paused cluster go on and waits until its API answers. Says whether it was paused.
///
/// # Errors
/// There is none of this name, another command works on it, it does not run, or the API does not answer.
pub async fn unpause(state: &Path, name: &ClusterName) -> Result<bool, Error> {
    let (claim, record) = ClusterLock::existing(state, name)?;
    match condition(claim.dir(), &record)? {
        (ClusterState::Paused, Some(running)) => {
            running.unpause()?;
            Log::of(state, name).record(EventKind::Unpaused);
            let client = connect_file(&own_kubeconfig(claim.dir())).await?;
            wait_until_api(&client, PATIENCE).await?;
            Ok(true)
        }
        (ClusterState::Stopping, _) => Err(Error::Stopping { name: name.clone() }),
        (_, Some(_)) => Ok(false),
        (_, None) => Err(Error::NotRunning { name: name.clone() }),
    }
}
