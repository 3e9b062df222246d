//! What a command that changes nodes leaves, whether it was done, failed or was killed.

use std::fs;
use std::io;
use std::time::Duration;

use parbake_cluster::machine_plan::machine_dir;
use parbake_cluster::{Client, Node, cleanup, drain, hosts, join};
use parbake_machine::files::failed;
use parbake_machine::handle::Running;
use tokio::task::spawn_blocking;
use tracing::Instrument;

use super::arrive::alive;
use super::{Changes, NodeError};
use crate::Error;
use crate::state::{Claim, Record};
use crate::swap::rollback;

/// How long the API may take to forget nodes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes what is written down of a cluster true: removes all that is left of nodes that did not become its own or are so no
/// more, lets pods onto those that stay, and puts back what a swap
/// was not sure of. Gives what runs then. Does nothing where nothing was changing.
///
/// # Errors
/// The first step that failed. The next command tries again.
pub(crate) async fn tidy(
    claim: &Claim,
    record: &mut Record,
    running: Running,
    client: &Client,
) -> Result<Running, Error> {
    if record.changes.is_empty() {
        return Ok(running);
    }
    let Changes {
        arriving,
        departing,
        cordoned,
        swapping,
    } = &record.changes;
    let gone: Vec<Node> = arriving.iter().chain(departing).cloned().collect();
    let mut running = running;
    if !gone.is_empty() {
        running = power_off(claim, running, &gone).await?;
        let stay = alive(&running, record.cluster.nodes(), &[]);
        hosts::remove(&running, &stay, &gone)
            .await
            .map_err(NodeError::from)?;
        join::withdraw_all(client).await?;
        let names: Vec<_> = arriving.iter().map(|node| node.name.clone()).collect();
        cleanup::forget_nodes(client, &names, PATIENCE).await?;
        let before = [record.cluster.nodes(), departing.as_slice()].concat();
        let before = record.cluster.with(before)?;
        cleanup::remove_nodes(client, &before, &record.cluster, PATIENCE).await?;
        for node in &gone {
            let dir = machine_dir(claim.dir(), node);
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &dir)(error).into());
                }
                _ => {}
            }
        }
    }
    if !swapping.is_empty() {
        let step = tracing::info_span!("step", what = "put back what was swapped");
        rollback(swapping, &running, client).instrument(step).await?;
    }
    for node in cordoned {
        drain::uncordon(client, node).await?;
    }
    record.changes = Changes::default();
    claim.write(record)?;
    Ok(running)
}

async fn power_off(claim: &Claim, running: Running, gone: &[Node]) -> Result<Running, Error> {
    let names: Vec<String> = gone.iter().map(|node| node.name.to_string()).collect();
    // Asked even where none of them is known: a command that was killed may have asked for one that is on its way up.
    let what = format!("power {} off", names.join(", "));
    let dir = claim.dir().to_owned();
    let removed = spawn_blocking(move || running.remove(&dir, names));
    match removed.instrument(tracing::info_span!("step", what)).await {
        Ok(outcome) => Ok(outcome?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
