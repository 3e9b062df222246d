//! What a swap has replaced, and how it comes back.

use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::rollout::{Workload, wait_until_rolled_out};
use parbake_cluster::swap::{Runs, set_image, wait_until_static_pod};
use parbake_cluster::wait::TimedOut;
use parbake_cluster::{ApiError, Client, NodeName};
use parbake_machine::handle::Running;
use serde::{Deserialize, Serialize};

use super::{Swapped, node};
use crate::Error;

/// How long what is put back may take until it is at work.
const PATIENCE: Duration = Duration::from_secs(90);

/// Something that is replaced, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Undo {
    /// A file of a node, which keeps the old one beside it.
    File {
        /// The node.
        node: NodeName,
        /// The file.
        path: String,
        /// What follows when it is back.
        after: After,
    },
    /// The image of a workload's container.
    Image {
        /// The workload, as [`Workload`] shows itself.
        workload: String,
        /// The container.
        container: String,
        /// The image that it had.
        image: String,
    },
    /// An image that nodes have been given.
    Loaded {
        /// Its name.
        image: String,
    },
}

/// What follows from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum After {
    /// It is not at work all the time.
    Nothing,
    /// A unit runs it.
    Unit(String),
    /// It is a static pod's manifest.
    Pod {
        /// The pod's name, without that of its node.
        name: String,
        /// The image that it names.
        image: String,
    },
}

/// Why something is not at work.
#[derive(Debug)]
pub(super) enum Unready {
    TimedOut(TimedOut),
    Other(Box<Error>),
}

impl Unready {
    pub(super) fn other(error: Error) -> Self {
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

impl Undo {
    pub(super) fn file(node: &NodeName, path: &str, after: After) -> Self {
        Self::File {
            node: node.clone(),
            path: path.to_owned(),
            after,
        }
    }

    pub(super) fn image(run: &Runs) -> Self {
        Self::Image {
            workload: run.workload.to_string(),
            container: run.container.clone(),
            image: run.image.clone(),
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
    after: &After,
    since: Timestamp,
) -> Result<(), Error> {
    match after {
        After::Nothing => Ok(()),
        After::Unit(unit) => {
            let restarted = node::restart(running, client, node, Some(unit), since, None, PATIENCE);
            Ok(restarted.await?)
        }
        After::Pod { name, image } => {
            // It may never have been touched.
            let any = Timestamp::UNIX_EPOCH;
            Ok(wait_until_static_pod(client, node, name, image, any, PATIENCE).await?)
        }
    }
}

/// Waits until a workload's pods are those of its template.
pub(super) async fn rolled_out(client: &Client, workload: &Workload, limit: Duration) -> Result<(), Unready> {
    Ok(wait_until_rolled_out(client, std::slice::from_ref(workload), limit).await?)
}

/// Images of earlier swaps that nothing needs after `new`.
pub(super) fn stale(old: &[Swapped], new: &[Swapped]) -> Vec<String> {
    let replaced = |one: &&Swapped| {
        let mut all = new.iter().filter(|new| new.program == one.program);
        all.any(|new| new.image != one.image && one.nodes.iter().all(|node| new.nodes.contains(node)))
    };
    let stale = old.iter().filter(replaced);
    stale.filter_map(|one| one.image.clone()).collect()
}

#[cfg(test)]
mod tests {
    use parbake_artifact::Digest;
    use parbake_cluster::NodeName;

    use super::{After, Swapped, Undo, stale};

    #[test]
    fn what_is_replaced_is_written_down() {
        let node = NodeName::numbered(2);
        let undo = [
            Undo::file(
                &node,
                "/usr/bin/kubelet",
                After::Unit("kubelet.service".to_owned()),
            ),
            Undo::file(&node, "/usr/bin/crictl", After::Nothing),
            Undo::Loaded {
                image: "example.org/etcd:1".to_owned(),
            },
        ];
        let text = serde_json::to_string(&undo).unwrap();
        assert_eq!(
            text,
            r#"[{"file":{"node":"node02","path":"/usr/bin/kubelet","after":{"unit":"kubelet.service"}}},"#
                .to_owned()
                + r#"{"file":{"node":"node02","path":"/usr/bin/crictl","after":"nothing"}},"#
                + r#"{"loaded":{"image":"example.org/etcd:1"}}]"#
        );
        assert_eq!(serde_json::from_str::<Vec<Undo>>(&text).unwrap(), undo);
    }

    #[test]
    fn only_images_that_nothing_runs_are_stale() {
        let swapped = |program: &str, image: &str, nodes: &[usize]| Swapped {
            program: program.to_owned(),
            version: None,
            digest: Digest::of(image.as_bytes()),
            image: Some(image.to_owned()),
            nodes: nodes.iter().map(|node| NodeName::numbered(*node)).collect(),
        };
        let old = [
            swapped("etcd", "etcd:a", &[1, 2]),
            swapped("coredns", "coredns:a", &[1]),
        ];
        let stale = |new: Swapped| stale(&old, &[new]);
        assert_eq!(stale(swapped("etcd", "etcd:b", &[1, 2])), ["etcd:a"]);
        assert!(stale(swapped("etcd", "etcd:b", &[2])).is_empty());
        assert!(stale(swapped("etcd", "etcd:a", &[1, 2])).is_empty());
        assert!(stale(swapped("kube-proxy", "kube-proxy:b", &[1, 2])).is_empty());
    }
}
