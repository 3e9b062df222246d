//! What a swap has replaced, and how it comes back.

use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::rollout::{Workload, wait_until_rolled_out};
use parbake_cluster::swap::{set_image, wait_until_static_pod};
use parbake_cluster::wait::TimedOut;
use parbake_cluster::{ApiError, Client, NodeName};
use parbake_machine::handle::Running;

use super::node_files as node;
use crate::error::Error;
use crate::state::{FollowUp, Undo};

/// How long what is put back may take until it is at work.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why something is not at work.
#[derive(Debug)]
pub(crate) enum Unready {
    TimedOut(TimedOut),
    Other(Box<Error>),
}

impl Unready {
    pub(crate) fn other(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<TimedOut> for Unready {
    fn from(timed_out: TimedOut) -> Self {
        Self::TimedOut(timed_out)
    }
}

impl From<parbake_machine::handle::Error> for Unready {
    fn from(error: parbake_machine::handle::Error) -> Self {
        Self::other(error.into())
    }
}

impl From<Unready> for Error {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::TimedOut(timed_out) => timed_out.into(),
            Unready::Other(error) => *error,
        }
    }
}

/// Puts all of it back, the last first, and waits until it is at work.
///
/// # Errors
/// The first that could not be put back. What comes before it is as the swap left it.
pub(crate) async fn rollback(undo: &[Undo], running: &Running, client: &Client) -> Result<(), Error> {
    for one in undo.iter().rev() {
        match one {
            Undo::File { node, path, after } => {
                // Nodes may have gone since.
                if running.machines().contains_key(node.as_str()) {
                    let since = Timestamp::now();
                    node::restore(running, node, path)?;
                    follow(running, client, node, after, since).await?;
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
                put_image_back(client, &workload, container, image).await?;
                rolled_out(client, &workload, PATIENCE).await?;
            }
            Undo::Loaded { image } => node::forget_image(running, image),
        }
    }
    Ok(())
}

async fn put_image_back(
    client: &Client,
    workload: &Workload,
    container: &str,
    image: &str,
) -> Result<(), ApiError> {
    set_image(client, workload, container, image).await
}

async fn follow(
    running: &Running,
    client: &Client,
    node: &NodeName,
    after: &FollowUp,
    since: Timestamp,
) -> Result<(), Error> {
    match after {
        FollowUp::Nothing => Ok(()),
        FollowUp::Unit(unit) => {
            let restarted = node::restart(running, client, node, Some(unit), since, None, PATIENCE);
            Ok(restarted.await?)
        }
        FollowUp::Pod { name, image } => {
            // It may never have been touched.
            let any = Timestamp::UNIX_EPOCH;
            Ok(wait_until_static_pod(client, node, name, image, any, PATIENCE).await?)
        }
    }
}

/// Waits until a workload's pods are those of its template.
pub(crate) async fn rolled_out(client: &Client, workload: &Workload, limit: Duration) -> Result<(), Unready> {
    Ok(wait_until_rolled_out(client, std::slice::from_ref(workload), limit).await?)
}
