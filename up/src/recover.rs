//! Recovery of a running cluster from a command that failed or was killed.
//!
//! A command that changes a running cluster (`node add`, `node remove`, `swap`) first records in
//! [`PendingChanges`] what it is about to change. If it fails, it calls [`recover`] itself. If it is killed, the next command
//! that changes, starts or freezes the cluster does.

pub(crate) mod node_files;
pub(crate) mod undo;

use std::path::Path;
use std::time::Duration;

use parbake_cluster::api::{drain, etc_hosts, join, nodes};
use parbake_cluster::model::machine_plan::machine_dir;
use parbake_cluster::{Client, Node, connect_file};
use parbake_machine::supervisor::Running;
use tokio::task::spawn_blocking;
use tracing::Instrument;

use crate::clusters::Cluster;
use crate::error::Error;
use crate::name::ClusterName;
use crate::state::{ClusterLock, PendingChanges, Phase, Record, own_kubeconfig, remove_dir, sweep_freezes};

/// How long the API may take to forget nodes.
const FORGET_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster that this command has locked and recovered.
pub(crate) struct LockedCluster {
    pub(crate) lock: ClusterLock,
    pub(crate) record: Record,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

impl LockedCluster {
    pub(crate) async fn find(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        sweep_freezes(state)?;
        let (lock, _) = ClusterLock::existing(state, name)?;
        let cluster = Cluster::find(state, name)?;
        if cluster.record().phase != Phase::Up {
            return Err(Error::Unfinished { name: name.clone() });
        }
        let client = connect_file(&own_kubeconfig(lock.dir())).await?;
        let (mut record, running) = cluster.into_parts();
        let running = recover(&lock, &mut record, running, &client).await?;
        Ok(Self {
            lock,
            record,
            running,
            client,
        })
    }
}

/// Reverts the pending changes of `record`: removes nodes that never became part of the cluster or no longer are, undoes an
/// unconfirmed swap and uncordons the nodes that stay. Returns the machines that run afterwards. Does nothing if no change is
/// pending.
///
/// # Errors
/// The first step that failed. The changes stay pending, and the next command tries again.
pub(crate) async fn recover(
    lock: &ClusterLock,
    record: &mut Record,
    mut running: Running,
    client: &Client,
) -> Result<Running, Error> {
    if record.changes.is_empty() {
        return Ok(running);
    }
    let PendingChanges {
        arriving,
        departing,
        cordoned,
        swapping,
    } = &record.changes;
    let removed: Vec<Node> = arriving.iter().chain(departing).cloned().collect();
    if !removed.is_empty() {
        running = power_off(lock, running, &removed).await?;
        etc_hosts::remove(&running, &alive(&running, record.cluster.nodes(), &[]), &removed).await?;
        join::revoke_all(client).await?;
        let names: Vec<_> = arriving.iter().map(|node| node.name.clone()).collect();
        nodes::delete_nodes(client, &names, FORGET_TIMEOUT).await?;
        let before = [record.cluster.nodes(), departing.as_slice()].concat();
        let before = record.cluster.with_nodes(before)?;
        nodes::remove_nodes(client, &before, &record.cluster, FORGET_TIMEOUT).await?;
        for node in &removed {
            remove_dir(&machine_dir(lock.dir(), node))?;
        }
    }
    if !swapping.is_empty() {
        let step = tracing::info_span!("step", what = "restore the swapped programs");
        undo::rollback(swapping, &running, client)
            .instrument(step)
            .await?;
    }
    for node in cordoned {
        drain::uncordon(client, node).await?;
    }
    record.changes = PendingChanges::default();
    lock.write(record)?;
    Ok(running)
}

/// The nodes whose machines run, without those in `except`.
pub(crate) fn alive(running: &Running, nodes: &[Node], except: &[Node]) -> Vec<Node> {
    let init = |node: &Node| running.machines().get(node.name.as_str());
    let is_alive = |node: &&Node| init(node).is_some_and(|init| init.is_alive()) && !except.contains(node);
    nodes.iter().filter(is_alive).cloned().collect()
}

async fn power_off(lock: &ClusterLock, running: Running, nodes: &[Node]) -> Result<Running, Error> {
    let names: Vec<String> = nodes.iter().map(|node| node.name.to_string()).collect();
    // Asked even if the supervisor knows none of them: a killed command may have requested one that is still booting.
    let what = format!("power off {}", names.join(", "));
    let dir = lock.dir().to_owned();
    let removed = spawn_blocking(move || running.remove(&dir, names));
    match removed.instrument(tracing::info_span!("step", what)).await {
        Ok(outcome) => Ok(outcome?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
