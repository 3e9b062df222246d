//! The freeze: from a running cluster to an artifact, while the cluster goes on.
//!
//! ```text
//! look      what is in flight, and whether the API answers
//! pause     all machines stand still (cgroup freezer), their files are copied, they go on: the only interruption
//! settle    the copy boots alone in a scratch directory, under a new identity, without a kubelet: its runtime forgets the
//!           containers, and etcd and the API server forget credentials; no workload runs
//! pack      what the machines wrote since their thaw becomes one more layer for each, above those that they came with
//! ```
//!
//! The copy is what a power cut would leave: etcd, the runtime's database and users' own files are as they were at one
//! moment on all machines.
//!
//! ```text
//! DIR/freeze/NAME/           locked (flock) by the freeze of the cluster NAME
//! ├── supervisor.json, ...   while the copy runs
//! └── machines/node01/       the copy of a machine's own directory
//! ```
//!
//! What a freeze that was killed leaves there goes with the next `freeze`, `up` or `down`; its machines end with it. The
//! cluster is held still by a process of its own that lets it go on when the freeze ends, however that happens.

mod copy;
mod pack;
mod secret_scan;
mod settle;

use std::path::PathBuf;
use std::time::Duration;

use parbake_artifact::{Artifact, Store, Tag};
use parbake_cluster::in_flight::{self, InFlight};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::process::Cmd;

use crate::events::{EventKind, Log};
use crate::recover::recover;
use crate::signals::interrupted;
use crate::state::{ClusterLock, Phase};
use crate::{Cluster, ClusterName, Error};
pub use secret_scan::ExcludedFile;

/// What to freeze, and into what.
#[derive(Debug)]
pub struct Options {
    /// What the artifact is called in the store.
    pub tag: Tag,
    /// The cluster.
    pub name: ClusterName,
    /// Take the name from an artifact that has it.
    pub force: bool,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// A cluster that was frozen, and goes on.
#[derive(Debug)]
pub struct FreezeReport {
    /// The artifact.
    pub artifact: Artifact,
    /// Bytes of its layers that its parent does not have, compressed.
    pub own_bytes: u64,
    /// What was under way, and is in the artifact as it stood.
    pub in_flight: Vec<InFlight>,
    /// How long the cluster stood still.
    pub paused: Duration,
    /// Files that held a credential of the cluster.
    pub left_out: Vec<ExcludedFile>,
}

/// Freezes a running cluster.
///
/// # Errors
/// The first step that failed. The cluster goes on, and there is no new artifact.
pub async fn freeze(options: &Options) -> Result<FreezeReport, Error> {
    crate::state::sweep_freezes(&options.dir)?;
    let host = Host::detect(&options.dir).require(Purpose::Up)?;
    let store = Store::open(&options.dir.join("store"))?;
    if !options.force && store.tags()?.contains(&options.tag) {
        return Err(Error::TagExists {
            tag: options.tag.clone(),
        });
    }
    // The lock makes the directory of a cluster that there is not.
    Cluster::find(&options.dir, &options.name)?;
    // Nobody else may work on the cluster until its files are copied.
    let claim = ClusterLock::acquire(&options.dir, &options.name)?;
    let cluster = Cluster::find(&options.dir, &options.name)?;
    if cluster.record().phase != Phase::Up {
        return Err(Error::Unfinished {
            name: options.name.clone(),
        });
    }
    let mut record = cluster.record().clone();
    if !record.changes.is_empty() {
        recover(
            &claim,
            &mut record,
            cluster.running().clone(),
            &cluster.client().await?,
        )
        .await?;
    }
    let parent = store.get_by_digest(&record.tag, &record.artifact)?;
    let scratch = ClusterLock::for_freeze(&options.dir, &options.name)?;
    let work = async {
        let in_flight = look(&cluster, &options.name).await?;
        let paused = copy::copy(&cluster, &claim, &scratch, &options.supervise)?;
        // From here on the cluster may do, or be done, what it likes.
        drop(claim);
        let secrets = secret_scan::Secrets::collect(&scratch, &record.cluster)?;
        let kept = settle::settle(options, &host.decide(), &store, &parent, &record, &scratch).await?;
        let left_out = secrets.leave_out(&scratch, &record.cluster)?;
        let (artifact, own_bytes) = pack::pack(options, &store, &parent, &record, &scratch, kept)?;
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
        // What failed says why, and what was made is good; the next freeze tries again.
        tracing::warn!(%error, "could not remove what the freeze left");
    }
    outcome
}

async fn look(cluster: &Cluster, name: &ClusterName) -> Result<Vec<InFlight>, Error> {
    let _step = tracing::info_span!("step", what = "look what is in flight").entered();
    let found = in_flight::look(&cluster.client().await?).await;
    found.map_err(|source| Error::ApiUnavailable {
        name: name.clone(),
        source,
    })
}
