//! `parbake node remove`

use std::path::PathBuf;
use std::time::Duration;

use parbake_cluster::api::drain;
use parbake_cluster::{Client, NodeName, Role};
use tracing::Instrument;

use crate::error::Error;
use crate::events::{EventKind, Log};
use crate::name::ClusterName;
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;
use crate::state::{ClusterLock, Record};

/// Which node to remove, and how.
#[derive(Debug)]
pub struct RemoveOptions {
    pub name: ClusterName,
    pub node: NodeName,
    /// Remove the node even if it has pods without a controller, or pods that do not leave in time.
    pub force: bool,
    /// Limit for the drain.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
}

/// Removes a worker from a running cluster: drains it, powers its machine off and deletes all traces of it.
///
/// # Errors
/// There is no such node, it is a control plane, or it could not be drained; it stays in the cluster then. Or something could
/// not be removed, which the next command tries again.
pub async fn remove(options: &RemoveOptions) -> Result<(), Error> {
    let node = &options.node;
    let LockedCluster {
        lock,
        mut record,
        running,
        client,
    } = LockedCluster::find(&options.dir, &options.name).await?;
    let Some(found) = record.cluster.node(node).cloned() else {
        let known = record.cluster.nodes().iter().map(|node| &node.name);
        return Err(Error::node_not_found(node, known));
    };
    if found.role == Role::ControlPlane {
        return Err(Error::NodeIsControlPlane { node: node.clone() });
    }
    if !options.force {
        drain::check_drainable(&client, node).await?;
    }
    drain_node(options, &lock, &mut record, &client).await?;
    let others = record.cluster.nodes().iter().filter(|other| other.name != *node);
    record.cluster = record.cluster.with_nodes(others.cloned().collect())?;
    record.changes.cordoned.clear();
    record.changes.departing = vec![found];
    lock.write(&record)?;
    recover(&lock, &mut record, running, &client).await?;
    Log::of(&options.dir, &options.name).record(EventKind::NodeRemoved { node: node.clone() });
    Ok(())
}

/// Cordons and drains the node. After an error it is as it was before.
async fn drain_node(
    options: &RemoveOptions,
    lock: &ClusterLock,
    record: &mut Record,
    client: &Client,
) -> Result<(), Error> {
    let node = &options.node;
    // A node that a user has cordoned must stay cordoned if the drain fails.
    if drain::is_schedulable(client, node).await? {
        record.changes.cordoned = vec![node.clone()];
        lock.write(record)?;
    }
    let drained = async {
        drain::cordon(client, node).await?;
        drain::drain(client, node, options.wait).await
    };
    let drained = drained.instrument(tracing::info_span!("step", what = format!("drain {node}")));
    let outcome = tokio::select! {
        outcome = drained => outcome.map_err(Error::from),
        () = interrupted() => Err(Error::NodeChangeInterrupted),
    };
    let error = match outcome {
        Ok(()) => return Ok(()),
        Err(Error::Cluster(parbake_cluster::Error::TimedOut(timed_out))) if options.force => {
            tracing::warn!("{timed_out}\nthese pods are removed with the node");
            return Ok(());
        }
        Err(error) => error,
    };
    let uncordoned = async {
        for node in &record.changes.cordoned {
            drain::uncordon(client, node).await?;
        }
        record.changes.cordoned.clear();
        lock.write(record)
    };
    if let Err(error) = uncordoned.await {
        // The user sees why the drain failed; the next command tries again.
        tracing::warn!(%error, "could not uncordon the node");
    }
    Err(error)
}
