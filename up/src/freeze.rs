//! The freeze: from a running cluster to an artifact. The cluster keeps running.
//!
//! ```text
//! check     nothing else changes the cluster, its API answers; report what is in flight
//! copy      pause all machines (cgroup freezer), copy their files, resume: the only interruption
//! settle    boot the copy in isolation, under a new identity and without kubelet: its runtime forgets the containers, etcd
//!           and the API server forget credentials; no workload runs
//! pack      what each machine has written since its thaw becomes one more layer above those that it has
//! ```
//!
//! The copy is what a power cut would leave: etcd, the runtime's database and users' files are as they were at one moment on
//! all machines.
//!
//! The copy lives in `DIR/freeze/NAME/`, see [`crate::state`]. If the freeze is killed, its machines end with it, and the next
//! `freeze`, `up` or `down` removes the directory. A process of its own pauses the cluster, and resumes it when the freeze ends,
//! however it ends.

mod copy;
mod pack;
mod secret_scan;
mod settle;

use std::path::PathBuf;
use std::time::Duration;

use parbake_artifact::{Artifact, Store, Tag};
use parbake_cluster::api::unfinished::{self, Unfinished};
use parbake_machine::process::Cmd;

use crate::clusters::Cluster;
use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::launch::Launcher;
use crate::name::ClusterName;
use crate::recover::recover;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase, sweep_freezes};
pub use secret_scan::ExcludedFile;

/// What to freeze, and into which artifact.
#[derive(Debug)]
pub struct Options {
    /// The name of the artifact.
    pub tag: Tag,
    /// The cluster.
    pub name: ClusterName,
    /// Replace an artifact of the same name.
    pub force: bool,
    /// The state directory.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A cluster that was frozen.
#[derive(Debug)]
pub struct FreezeReport {
    pub artifact: Artifact,
    /// Compressed size of the layers that the parent artifact does not have.
    pub own_bytes: u64,
    /// Operations that were in flight. The artifact has them in that state.
    pub in_flight: Vec<Unfinished>,
    /// How long the cluster was paused.
    pub paused: Duration,
    /// Files that contained a credential of the cluster.
    pub left_out: Vec<ExcludedFile>,
}

/// Freezes a running cluster.
///
/// # Errors
/// The first step that failed. The cluster keeps running, and there is no new artifact.
pub async fn freeze(options: &Options) -> Result<FreezeReport, Error> {
    sweep_freezes(&options.dir)?;
    let store = Store::open(&options.dir.join("store"))?;
    if !options.force && store.tags()?.contains(&options.tag) {
        return Err(Error::TagExists {
            tag: options.tag.clone(),
        });
    }
    // Locked until the files are copied.
    let (lock, mut record) = ClusterLock::existing(&options.dir, &options.name)?;
    let cluster = Cluster::find(&options.dir, &options.name)?;
    if record.phase != Phase::Up {
        return Err(Error::Unfinished {
            name: options.name.clone(),
        });
    }
    let launcher = Launcher::for_record(&options.dir, &record)?;
    if !record.changes.is_empty() {
        let client = cluster.client().await?;
        recover(&lock, &mut record, cluster.running().clone(), &client).await?;
    }
    let scratch = ClusterLock::for_freeze(&options.dir, &options.name)?;
    let work = async {
        let in_flight = in_flight(&cluster, &options.name).await?;
        let paused = copy::copy(&cluster, &lock, &scratch, &options.supervise)?;
        drop(lock);
        let secrets = secret_scan::Secrets::collect(&scratch, &record.cluster)?;
        let kept = settle::settle(&launcher, &record.cluster, &scratch, &options.supervise).await?;
        let left_out = secrets.remove_files(&scratch, &record.cluster)?;
        let (artifact, own_bytes) = pack::pack(&options.tag, &launcher, &record.cluster, &scratch, kept)?;
        Ok(FreezeReport {
            artifact,
            own_bytes,
            in_flight,
            paused,
            left_out,
        })
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = interrupted() => Err(Error::FreezeInterrupted),
    };
    if outcome.is_ok() {
        let artifact = options.tag.clone();
        Log::of(&options.dir, &options.name).record(EventKind::Frozen { artifact });
    }
    if let Err(error) = scratch.remove() {
        // The artifact is complete, or the user sees why it is not; the next freeze cleans up.
        tracing::warn!(%error, "could not remove what the freeze left");
    }
    outcome
}

async fn in_flight(cluster: &Cluster, name: &ClusterName) -> Result<Vec<Unfinished>, Error> {
    let _step = tracing::info_span!("step", what = "find what is in flight").entered();
    let found = unfinished::list(&cluster.client().await?).await;
    found.map_err(|source| Error::ApiUnavailable {
        name: name.clone(),
        source,
    })
}
