//! `parbake node add`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parbake_cluster::Node;

use super::Join;
use crate::config;
use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::launch::Launcher;
use crate::name::ClusterName;
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;

/// How many nodes to add, and to which cluster.
#[derive(Debug)]
pub struct AddOptions {
    pub name: ClusterName,
    /// The number of nodes.
    pub count: usize,
    /// Limit until they are ready.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
}

/// Nodes that were added and are ready.
#[derive(Debug)]
pub struct Added {
    pub nodes: Vec<Node>,
    /// How long it took.
    pub after: Duration,
}

/// Adds workers to a running cluster, from the layers of its artifact, and waits until they are ready.
///
/// # Errors
/// The first step that failed. The cluster has the same nodes as before.
pub async fn add(options: &AddOptions) -> Result<Added, Error> {
    let started = Instant::now();
    let LockedCluster {
        lock,
        mut record,
        running,
        client,
    } = LockedCluster::find(&options.dir, &options.name).await?;
    let launcher = Launcher::for_record(&options.dir, &record)?;
    let new = record.cluster.next_workers(options.count, &launcher.baked)?;
    let cluster = record
        .cluster
        .with_nodes([record.cluster.nodes(), &new].concat())?;
    launcher.check(&cluster, record.internet)?;
    let config = config::load(lock.dir(), &cluster, false)?;
    record.changes.arriving.clone_from(&new);
    lock.write(&record)?;
    let join = Join {
        lock: &lock,
        launcher: &launcher,
        cluster: &cluster,
        new: &new,
        internet: record.internet,
        config: &config,
        wait: options.wait,
    };
    let outcome = tokio::select! {
        outcome = join.run(&running, &client) => outcome,
        () = interrupted() => Err(Error::NodeChangeInterrupted),
    };
    if let Err(error) = outcome {
        if let Err(error) = recover(&lock, &mut record, running, &client).await {
            // The user sees why the nodes failed; the next command cleans up.
            tracing::warn!(%error, "could not remove what the failed nodes left");
        }
        return Err(error);
    }
    lock.sync()?;
    record.cluster = cluster;
    record.changes.arriving.clear();
    lock.write(&record)?;
    let after = started.elapsed();
    Log::of(&options.dir, &options.name).record(EventKind::NodesAdded {
        nodes: new.iter().map(|node| node.name.clone()).collect(),
        seconds: after.as_secs_f64(),
    });
    Ok(Added { nodes: new, after })
}
