//! Rolls back the replacements of a swap.

use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::api::rollout::{Workload, wait_until_rolled_out};
use parbake_cluster::api::workload_images::set_image;
use parbake_cluster::readiness::wait_until_static_pod;
use parbake_cluster::{Client, NodeName};
use parbake_machine::supervisor::Running;

use super::node_files;
use crate::error::Error;
use crate::state::{FollowUp, Undo};

/// The time limit until a restored program runs.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Reverts `undo`, the last entry first, and waits until the restored programs run.
///
/// # Errors
/// The first entry that could not be reverted. Those before it are unchanged.
pub(crate) async fn rollback(undo: &[Undo], running: &Running, client: &Client) -> Result<(), Error> {
    for one in undo.iter().rev() {
        match one {
            Undo::File { node, path, after } => {
                // The node may have been removed since.
                if running.machines().contains_key(node.as_str()) {
                    let since = Timestamp::now();
                    node_files::restore(running, node, path)?;
                    follow_up(running, client, node, after, since).await?;
                }
            }
            Undo::Image {
                workload,
                container,
                image,
            } => {
                let Ok(workload) = workload.parse::<Workload>() else {
                    continue;
                };
                set_image(client, &workload, container, image).await?;
                wait_until_rolled_out(client, &[workload], TIMEOUT).await?;
            }
            Undo::Loaded { image } => node_files::remove_image(running, image),
        }
    }
    Ok(())
}

async fn follow_up(
    running: &Running,
    client: &Client,
    node: &NodeName,
    after: &FollowUp,
    since: Timestamp,
) -> Result<(), Error> {
    match after {
        FollowUp::Nothing => Ok(()),
        FollowUp::Unit(unit) => {
            node_files::restart(running, client, node, Some(unit), since, None, TIMEOUT).await
        }
        FollowUp::Pod { name, image } => {
            // The pod may never have been restarted, so any start time will do.
            let since = Timestamp::UNIX_EPOCH;
            Ok(wait_until_static_pod(client, node, name, image, since, TIMEOUT).await?)
        }
    }
}
