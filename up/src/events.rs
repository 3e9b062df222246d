//! What parbake did to clusters and artifacts below a state directory, as it happened.
//!
//! ```text
//! DIR/events.jsonl        one JSON object in each line, oldest first
//! DIR/events.old.jsonl    the same from before, once the first had grown to 1 MiB
//! ```
//!
//! The log belongs to the state directory, not to a cluster: what happened to a cluster stays known after its `down`, until
//! newer events have pushed it out. Other processes read it while it grows ([`Tail`]); the milestones of a start are
//! written as they are passed, so whoever looks on sees how far it is.
//!
//! A line is one write to a file that is open for appending, so commands that write at the same time do not mix their lines.
//! A line that a crash has cut off is skipped by readers and ended by the next writer. Nothing waits for the log: it is not
//! synced, and what cannot be written is left out without a word.

mod failure;
mod start;
mod tail;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parbake_artifact::Tag;
use parbake_cluster::NodeName;
use parbake_cluster::readiness::Milestone;
use serde::{Deserialize, Serialize};

use crate::{ClusterName, Error};
use failure::line;
pub use start::{Start, StartState};
pub use tail::Tail;

const FILE: &str = "events.jsonl";
const FORMER: &str = "events.old.jsonl";

/// Something that happened; a line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// The cluster that it happened to; none where it is about an artifact alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// What.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A cluster was written down.
    Created {
        /// The artifact that it comes from.
        artifact: Tag,
        /// How many nodes it has.
        nodes: usize,
    },
    /// A start of a cluster began.
    Starting {
        /// How many nodes it has.
        nodes: usize,
    },
    /// A start passed a milestone.
    Passed {
        /// Which.
        milestone: Milestone,
        /// Seconds since its beginning.
        seconds: f64,
    },
    /// A start ended with everything ready.
    Ready {
        /// Seconds since its beginning.
        seconds: f64,
    },
    /// A start failed.
    Failed {
        /// Why, in a line.
        reason: String,
    },
    /// A cluster's machines were ended; their files stay.
    Stopped,
    /// A cluster was made to stand still.
    Paused,
    /// A paused cluster went on.
    Unpaused,
    /// Nodes joined a running cluster.
    NodesAdded {
        /// Their names.
        nodes: Vec<NodeName>,
        /// Seconds that it took.
        seconds: f64,
    },
    /// A node left a running cluster.
    NodeRemoved {
        /// Its name.
        node: NodeName,
    },
    /// A program was replaced.
    Swapped {
        /// Its name.
        program: String,
        /// What it says its version is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The nodes that have it now.
        nodes: Vec<NodeName>,
    },
    /// A cluster was frozen.
    Frozen {
        /// The new artifact.
        artifact: Tag,
    },
    /// A cluster was removed.
    Removed,
    /// An artifact was baked.
    Baked {
        /// The artifact.
        artifact: Tag,
    },
    /// An artifact was published.
    Published {
        /// The artifact.
        artifact: Tag,
        /// Where to.
        reference: String,
    },
    /// An artifact was pulled.
    Pulled {
        /// What it is called here.
        artifact: Tag,
        /// Where from.
        reference: String,
    },
}

impl EventKind {
    /// The one word for it that is in the log too.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Starting { .. } => "starting",
            Self::Passed { .. } => "passed",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Unpaused => "unpaused",
            Self::NodesAdded { .. } => "nodes-added",
            Self::NodeRemoved { .. } => "node-removed",
            Self::Swapped { .. } => "swapped",
            Self::Frozen { .. } => "frozen",
            Self::Removed => "removed",
            Self::Baked { .. } => "baked",
            Self::Published { .. } => "published",
            Self::Pulled { .. } => "pulled",
        }
    }
}

/// For people, such as `ready after 4.1 s`.
impl fmt::Display for EventKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { artifact, nodes } => {
                write!(out, "created from {artifact} with {}", counted(*nodes))
            }
            Self::Starting { nodes } => write!(out, "starts with {}", counted(*nodes)),
            Self::Passed { milestone, seconds } => write!(out, "{milestone} after {seconds:.1} s"),
            Self::Ready { seconds } => write!(out, "ready after {seconds:.1} s"),
            Self::Failed { reason } => write!(out, "start failed: {reason}"),
            Self::Stopped => out.write_str("stopped"),
            Self::Paused => out.write_str("paused"),
            Self::Unpaused => out.write_str("goes on"),
            Self::NodesAdded { nodes, seconds } => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(out, "{} joined, ready after {seconds:.1} s", names.join(", "))
            }
            Self::NodeRemoved { node } => write!(out, "{node} left"),
            Self::Swapped {
                program,
                version,
                nodes,
            } => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                let version = version.iter().map(|version| format!(" {version}"));
                let version = version.collect::<String>();
                write!(out, "{program}{version} was swapped in on {}", names.join(", "))
            }
            Self::Frozen { artifact } => write!(out, "frozen as {artifact}"),
            Self::Removed => out.write_str("removed"),
            Self::Baked { artifact } => write!(out, "{artifact} was baked"),
            Self::Published { artifact, reference } => {
                write!(out, "{artifact} was published as {reference}")
            }
            Self::Pulled { artifact, reference } => write!(out, "{artifact} was pulled from {reference}"),
        }
    }
}

fn counted(nodes: usize) -> String {
    format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })
}

/// The log of one state directory, for writing: about one cluster, or about none.
#[derive(Debug, Clone)]
pub struct Log {
    dir: PathBuf,
    cluster: Option<ClusterName>,
}

impl Log {
    /// The log below the state directory `dir`, for what happens to artifacts.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            cluster: None,
        }
    }

    /// The same for what happens to the cluster `name`.
    pub(crate) fn of(dir: &Path, name: &ClusterName) -> Self {
        Self {
            cluster: Some(name.clone()),
            ..Self::new(dir)
        }
    }

    /// Writes down that it has just happened. What cannot be written is left out: no command fails or waits for this.
    pub fn record(&self, what: EventKind) {
        let event = Event {
            time: Timestamp::now(),
            cluster: self.cluster.clone(),
            what,
        };
        if let Err(error) = write::append(&self.dir, &event) {
            tracing::debug!(%error, "could not write an event down");
        }
    }

    /// Writes down how a start ended: how long it took until everything was ready, or why that never was.
    pub(crate) fn ended(&self, outcome: Result<Duration, &Error>) {
        self.record(match outcome {
            Ok(ready) => EventKind::Ready {
                seconds: ready.as_secs_f64(),
            },
            Err(error) => EventKind::Failed { reason: line(error) },
        });
    }

    /// Is told each milestone of a start as it is passed.
    pub(crate) fn milestones(&self) -> impl FnMut(Milestone, Duration) + Send + 'static {
        let log = self.clone();
        move |milestone, after| {
            tracing::debug!("{milestone} after {:.1} s", after.as_secs_f64());
            let seconds = after.as_secs_f64();
            log.record(EventKind::Passed { milestone, seconds });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventKind};

    #[test]
    fn a_line_says_what_happened() {
        let cases = [
            (
                r#"{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"created","artifact":"k8s-1.34","nodes":1}"#,
                "created from k8s-1.34 with 1 node",
            ),
            (
                r#"{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"passed","milestone":"api","seconds":1.94}"#,
                "API answers after 1.9 s",
            ),
            (
                r#"{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"nodes-added","nodes":["node04","node05"],"seconds":6.0}"#,
                "node04, node05 joined, ready after 6.0 s",
            ),
            (
                r#"{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"swapped","program":"kubelet","version":"v1.34.9","nodes":["node01"]}"#,
                "kubelet v1.34.9 was swapped in on node01",
            ),
            (
                r#"{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"stopped"}"#,
                "stopped",
            ),
            (
                r#"{"time":"2026-03-01T10:00:00Z","event":"pulled","artifact":"k8s","reference":"example.org/k8s"}"#,
                "k8s was pulled from example.org/k8s",
            ),
        ];
        for (line, text) in cases {
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!(event.what.to_string(), text);
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            let word = format!(r#""event":"{}""#, event.what.word());
            assert!(line.contains(&word), "{word} is not in {line}");
        }
    }

    #[test]
    fn what_a_later_parbake_tells_is_no_event() {
        let line = r#"{"time":"2026-03-01T10:00:00Z","event":"flown"}"#;
        assert!(serde_json::from_str::<Event>(line).is_err());
        let known = r#"{"time":"2026-03-01T10:00:00Z","event":"paused","why":"new"}"#;
        assert_eq!(
            serde_json::from_str::<Event>(known).unwrap().what,
            EventKind::Paused
        );
    }
}
