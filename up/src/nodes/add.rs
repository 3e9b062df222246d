//! `parbake node add`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parbake_artifact::Store;
use parbake_cluster::{Description, Node};
use parbake_machine::host::{Host, Purpose};

use super::Join;
use crate::config;
use crate::events::{EventKind, Log};
use crate::layer_stacks::shared_stack;
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;
use crate::{ClusterName, Error};

/// What nodes to add, and where.
#[derive(Debug)]
pub struct AddOptions {
    /// The cluster.
    pub name: ClusterName,
    /// How many nodes.
    pub count: usize,
    /// How long it may take until they are ready.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
}

/// Nodes that were added and are ready.
#[derive(Debug)]
pub struct Added {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How long it took.
    pub after: Duration,
}

/// Adds workers to a running cluster, from what its artifact has, and waits until they are ready.
///
/// # Errors
/// The first step that failed; the cluster has the nodes that it had before.
pub async fn add(options: &AddOptions) -> Result<Added, Error> {
    let started = Instant::now();
    let LockedCluster {
        lock: claim,
        mut record,
        running,
        client,
    } = LockedCluster::find(&options.dir, &options.name).await?;
    let host = Host::detect(&options.dir).require(Purpose::Up)?;
    let store = Store::open(&options.dir.join("store"))?;
    let artifact = store.get_by_digest(&record.tag, &record.artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster)?;
    let new = record.cluster.more(options.count, &baked)?;
    let cluster = record.cluster.with([record.cluster.nodes(), &new].concat())?;
    let layers = shared_stack(&store, &artifact)?;
    let config = config::load(claim.dir(), &cluster, false)?;
    record.changes.arriving.clone_from(&new);
    claim.write(&record)?;
    let arrival = Join {
        claim: &claim,
        host: &host.decide(),
        cluster: &cluster,
        new: &new,
        layers: &layers,
        internet: record.internet,
        config: &config,
        wait: options.wait,
    };
    let outcome = tokio::select! {
        outcome = arrival.run(&running, &client) => outcome,
        () = interrupted() => Err(Error::NodeChangeInterrupted),
    };
    if let Err(error) = outcome {
        // What failed says why; what is in the way of undoing it comes second, and the next command tries again.
        if let Err(error) = recover(&claim, &mut record, running, &client).await {
            tracing::warn!(%error, "could not remove what the failed nodes left");
        }
        return Err(error);
    }
    claim.sync()?;
    record.cluster = cluster;
    record.changes.arriving.clear();
    claim.write(&record)?;
    let after = started.elapsed();
    Log::of(&options.dir, &options.name).record(EventKind::NodesAdded {
        nodes: new.iter().map(|node| node.name.clone()).collect(),
        seconds: after.as_secs_f64(),
    });
    Ok(Added { nodes: new, after })
}
