//! The log of what parbake did to the clusters and artifacts of a state directory.
//!
//! ```text
//! DIR/events.jsonl        one JSON object per line, oldest first
//! DIR/events.old.jsonl    the former events.jsonl, rotated once it had 1 MiB
//! ```
//!
//! The log belongs to the state directory, so the events of a cluster outlive its `down`. Other processes read it while it
//! grows ([`Tail`]). The milestones of a start are written as they are reached, so readers can follow its progress.
//!
//! A line is one write to a file opened for appending, so concurrent commands do not mix their lines. If a crash truncates a
//! line, readers skip it and the next writer terminates it. The log is best effort: it is not synced, and events that cannot be
//! written are dropped.

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

use crate::error::Error;
use crate::name::ClusterName;
use failure::one_line;
pub use start::{Start, StartState};
pub use tail::Tail;

const FILE: &str = "events.jsonl";
const FORMER: &str = "events.old.jsonl";

/// An event; one line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    /// `None` if the event concerns only an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A cluster was created.
    Created {
        artifact: Tag,
        /// The number of nodes.
        nodes: usize,
    },
    /// A start of a cluster began.
    Starting {
        /// The number of nodes.
        nodes: usize,
    },
    /// A start reached a milestone.
    Passed {
        milestone: Milestone,
        /// Since the start began.
        seconds: f64,
    },
    /// A start finished with everything ready.
    Ready {
        /// Since the start began.
        seconds: f64,
    },
    /// A start failed.
    Failed {
        /// One line.
        reason: String,
    },
    /// A cluster was stopped.
    Stopped,
    /// A cluster was paused.
    Paused,
    /// A paused cluster was resumed.
    Unpaused,
    /// Nodes joined a running cluster.
    NodesAdded {
        nodes: Vec<NodeName>,
        /// How long it took.
        seconds: f64,
    },
    /// A node left a running cluster.
    NodeRemoved { node: NodeName },
    /// A program was replaced.
    Swapped {
        program: String,
        /// The version that it reports.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// The nodes where it was replaced.
        nodes: Vec<NodeName>,
    },
    /// A cluster was frozen.
    Frozen { artifact: Tag },
    /// A cluster was removed.
    Removed,
    /// An artifact was baked.
    Baked { artifact: Tag },
    /// An artifact was published.
    Published { artifact: Tag, reference: String },
    /// An artifact was pulled.
    Pulled {
        /// Its name in the store.
        artifact: Tag,
        reference: String,
    },
}

impl EventKind {
    /// The name of the kind, as in the log.
    pub fn name(&self) -> &'static str {
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

/// A short text, such as `ready after 4.1 s`.
impl fmt::Display for EventKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { artifact, nodes } => {
                write!(out, "created from {artifact} with {}", count(*nodes))
            }
            Self::Starting { nodes } => write!(out, "starts with {}", count(*nodes)),
            Self::Passed { milestone, seconds } => write!(out, "{milestone} after {seconds:.1} s"),
            Self::Ready { seconds } => write!(out, "ready after {seconds:.1} s"),
            Self::Failed { reason } => write!(out, "start failed: {reason}"),
            Self::Stopped => out.write_str("stopped"),
            Self::Paused => out.write_str("paused"),
            Self::Unpaused => out.write_str("resumed"),
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

fn count(nodes: usize) -> String {
    format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })
}

/// A writer of the log, for the events of one cluster or of artifacts.
#[derive(Debug, Clone)]
pub struct Log {
    dir: PathBuf,
    cluster: Option<ClusterName>,
}

impl Log {
    /// A writer for the events of artifacts in the state directory `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            cluster: None,
        }
    }

    /// A writer for the events of the cluster `name`.
    pub(crate) fn of(dir: &Path, name: &ClusterName) -> Self {
        Self {
            cluster: Some(name.clone()),
            ..Self::new(dir)
        }
    }

    /// Writes an event that has just happened. An event that cannot be written is dropped.
    pub fn record(&self, kind: EventKind) {
        let event = Event {
            time: Timestamp::now(),
            cluster: self.cluster.clone(),
            kind,
        };
        if let Err(error) = write::append(&self.dir, &event) {
            tracing::debug!(%error, "could not write an event");
        }
    }

    /// Writes the outcome of a start: the time until everything was ready, or the error.
    pub(crate) fn record_end_of_start(&self, outcome: Result<Duration, &Error>) {
        self.record(match outcome {
            Ok(ready) => EventKind::Ready {
                seconds: ready.as_secs_f64(),
            },
            Err(error) => EventKind::Failed {
                reason: one_line(error),
            },
        });
    }

    /// A callback that writes each milestone of a start.
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
    fn events_have_a_stable_form_and_a_text() {
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
            assert_eq!(event.kind.to_string(), text);
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            let name = format!(r#""event":"{}""#, event.kind.name());
            assert!(line.contains(&name), "{name} is not in {line}");
        }
    }

    #[test]
    fn unknown_kind_is_rejected_and_unknown_fields_are_ignored() {
        let line = r#"{"time":"2026-03-01T10:00:00Z","event":"flown"}"#;
        assert!(serde_json::from_str::<Event>(line).is_err());
        let known = r#"{"time":"2026-03-01T10:00:00Z","event":"paused","why":"new"}"#;
        assert_eq!(
            serde_json::from_str::<Event>(known).unwrap().kind,
            EventKind::Paused
        );
    }
}
