//! `parbake node remove`

use std::path::PathBuf;
use std::time::Duration;

use parbake_cluster::drain::{self, DrainError};
use parbake_cluster::{Client, NodeName, Role};
use tracing::Instrument;

use crate::events::{EventKind, Log};
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;
use crate::state::{ClusterLock, Record};
use crate::{ClusterName, Error};

/// What node to remove, and how.
#[derive(Debug)]
pub struct RemoveOptions {
    /// The cluster.
    pub name: ClusterName,
    /// The node.
    pub node: NodeName,
    /// Remove pods that nobody makes anew, and all that have not left in time.
    pub force: bool,
    /// How long its pods may take to leave.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
}

/// Removes a worker from a running cluster: its pods leave, its machine is powered off, and nothing is left of either.
///
/// # Errors
/// There is no such node, it is a control plane, or its pods did not leave: it stays then. Or something could not be
/// removed, which the next command tries again.
pub async fn remove(options: &RemoveOptions) -> Result<(), Error> {
    let node = &options.node;
    let LockedCluster {
        lock: claim,
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
        drain::check(&client, node).await?;
    }
    empty(options, &claim, &mut record, &client).await?;
    let stay = record.cluster.nodes().iter().filter(|other| other.name != *node);
    record.cluster = record.cluster.with(stay.cloned().collect())?;
    record.changes.cordoned.clear();
    record.changes.departing = vec![found];
    claim.write(&record)?;
    recover(&claim, &mut record, running, &client).await?;
    Log::of(&options.dir, &options.name).record(EventKind::NodeRemoved { node: node.clone() });
    Ok(())
}

/// Has the node's pods leave. After an error the node takes pods as before.
async fn empty(
    options: &RemoveOptions,
    claim: &ClusterLock,
    record: &mut Record,
    client: &Client,
) -> Result<(), Error> {
    let node = &options.node;
    // One that its users closed stays closed, should it stay.
    if drain::is_open(client, node).await? {
        record.changes.cordoned = vec![node.clone()];
        claim.write(record)?;
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
        Err(Error::Drain(DrainError::TimedOut(timed_out))) if options.force => {
            tracing::warn!("{timed_out}\nthey go with the node");
            return Ok(());
        }
        Err(error) => error,
    };
    // What failed says why; what is in the way of undoing it comes second, and the next command tries again.
    let reopened = async {
        for node in &record.changes.cordoned {
            drain::uncordon(client, node).await?;
        }
        record.changes.cordoned.clear();
        claim.write(record)
    };
    if let Err(error) = reopened.await {
        tracing::warn!(%error, "could not let pods onto the node again");
    }
    Err(error)
}
