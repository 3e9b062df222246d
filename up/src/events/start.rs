//! The progress of a start, reconstructed from events.

use jiff::Timestamp;
use parbake_cluster::readiness::Milestone;

use super::{Event, EventKind};
use crate::name::ClusterName;

/// The last start of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub began: Timestamp,
    /// Milestones with the seconds since the start began, in the order in which they were reached.
    pub passed: Vec<(Milestone, f64)>,
    pub state: StartState,
}

/// The state of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum StartState {
    /// It is running, or was killed.
    Open,
    /// Everything was ready after this many seconds.
    Ready(f64),
    /// It failed for this reason.
    Failed(String),
    /// The cluster was stopped or removed before it was ready.
    Ended,
}

impl Start {
    /// The last start of the cluster `name` in `events`; `None` if there is none, or the cluster was removed.
    pub fn last<'a>(events: impl IntoIterator<Item = &'a Event>, name: &ClusterName) -> Option<Self> {
        let own = events
            .into_iter()
            .filter(|event| event.cluster.as_ref() == Some(name));
        own.fold(None, Self::apply)
    }

    fn apply(start: Option<Self>, event: &Event) -> Option<Self> {
        if let EventKind::Starting { .. } = event.kind {
            return Some(Self {
                began: event.time,
                passed: Vec::new(),
                state: StartState::Open,
            });
        }
        let mut start = start?;
        match &event.kind {
            EventKind::Removed => return None,
            EventKind::Passed { milestone, seconds } if start.state == StartState::Open => {
                start.passed.push((*milestone, *seconds));
            }
            EventKind::Ready { seconds } => start.state = StartState::Ready(*seconds),
            EventKind::Failed { reason } => start.state = StartState::Failed(reason.clone()),
            EventKind::Stopped if start.state == StartState::Open => start.state = StartState::Ended,
            _ => {}
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use parbake_cluster::readiness::Milestone;

    use super::{Start, StartState};
    use crate::ClusterName;
    use crate::events::Event;

    fn start(lines: &[&str]) -> Option<(Vec<(Milestone, f64)>, StartState)> {
        let events: Vec<Event> = lines
            .iter()
            .map(|line| {
                let line = format!(r#"{{"time":"2026-03-01T10:00:00Z",{line}}}"#);
                serde_json::from_str(&line).unwrap()
            })
            .collect();
        let name: ClusterName = "ci".parse().unwrap();
        Start::last(&events, &name).map(|start| (start.passed, start.state))
    }

    #[test]
    fn last_start_wins() {
        const BEGAN: &str = r#""cluster":"ci","event":"starting","nodes":1"#;
        const API: &str = r#""cluster":"ci","event":"passed","milestone":"api","seconds":1.5"#;
        const READY: &str = r#""cluster":"ci","event":"ready","seconds":4.0"#;
        const FAILED: &str = r#""cluster":"ci","event":"failed","reason":"no""#;
        const STOPPED: &str = r#""cluster":"ci","event":"stopped""#;
        const REMOVED: &str = r#""cluster":"ci","event":"removed""#;
        const OTHER: &str = r#""cluster":"other","event":"ready","seconds":9.0"#;
        let api = vec![(Milestone::Api, 1.5)];
        let cases = [
            (vec![], None),
            (vec![READY], None),
            (vec![BEGAN, OTHER], Some((vec![], StartState::Open))),
            (vec![BEGAN, API], Some((api.clone(), StartState::Open))),
            (
                vec![BEGAN, API, READY],
                Some((api.clone(), StartState::Ready(4.0))),
            ),
            (
                vec![BEGAN, API, READY, STOPPED],
                Some((api.clone(), StartState::Ready(4.0))),
            ),
            (
                vec![BEGAN, API, READY, STOPPED, BEGAN],
                Some((vec![], StartState::Open)),
            ),
            (
                vec![BEGAN, API, FAILED],
                Some((api.clone(), StartState::Failed("no".into()))),
            ),
            (vec![BEGAN, API, STOPPED], Some((api, StartState::Ended))),
            (vec![BEGAN, API, REMOVED], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(start(&lines), expected, "{lines:?}");
        }
    }
}
