//! The state of the dashboard.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use parbake_up::events::{Event, EventKind, Start, StartState};
use parbake_up::{ClusterListing, ClusterName, ClusterState, ResourceUsage, Status};

/// How many values a history keeps.
pub(super) const HISTORY_LENGTH: usize = 32;
/// How many events are kept.
pub(super) const MAX_EVENTS: usize = 1000;
/// Seconds after which a start must be visible as a state of its cluster.
const START_GRACE: i64 = 5;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) colour: bool,
    /// By name; `None` before the first poll.
    pub(super) clusters: Option<Vec<ClusterRow>>,
    pub(super) selected: Option<ClusterName>,
    /// The last status of a selected cluster.
    pub(super) status: Option<Status>,
    /// Resource usage of clusters and nodes: `ci`, `ci/node01`.
    pub(super) histories: BTreeMap<String, History>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    /// The pane with the focus.
    pub(super) pane: Pane,
    pub(super) scroll: Scroll,
    /// True if the selected cluster fills the screen.
    pub(super) details: bool,
    pub(super) dialog: Option<Dialog>,
    /// Commands that the user started, and that still run.
    pub(super) jobs: Vec<Job>,
    /// A message in the last line.
    pub(super) note: Option<Note>,
    /// Why the clusters cannot be listed.
    pub(super) list_error: Option<String>,
    /// Set when the dashboard is to end.
    pub(super) ended: Option<Ended>,
}

/// A cluster in the list.
#[derive(Debug, Clone)]
pub(super) struct ClusterRow {
    pub(super) listed: ClusterListing,
    pub(super) usage: Option<ResourceUsage>,
}

/// Resource usage over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    last: Option<(Timestamp, f64)>,
    /// Bytes.
    pub(super) memory: VecDeque<f64>,
    /// CPUs, such as 1.5.
    pub(super) cpu: VecDeque<f64>,
}

impl History {
    /// Adds a value. CPUs in use are computed from two values.
    pub(super) fn add(&mut self, at: Timestamp, usage: ResourceUsage) {
        if let Some((before, seconds)) = self.last {
            let elapsed = at.duration_since(before).as_secs_f64();
            let used = usage.cpu_seconds - seconds;
            if used < 0.0 {
                // The cluster was restarted.
                *self = Self::default();
            } else if elapsed > 0.0 {
                push(&mut self.cpu, used / elapsed);
            }
        }
        push(&mut self.memory, to_f64(usage.memory_bytes));
        self.last = Some((at, usage.cpu_seconds));
    }

    /// The last values: bytes and CPUs.
    pub(super) fn last(&self) -> (Option<f64>, Option<f64>) {
        (self.memory.back().copied(), self.cpu.back().copied())
    }
}

fn push(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == HISTORY_LENGTH {
        values.pop_front();
    }
    values.push_back(value);
}

#[expect(clippy::cast_precision_loss, reason = "a chart does not need single bytes")]
fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Clusters,
    Pods,
    Events,
}

impl Pane {
    /// The next pane, or the previous one.
    pub(super) fn next(self, back: bool) -> Self {
        match (self, back) {
            (Self::Clusters, false) | (Self::Events, true) => Self::Pods,
            (Self::Pods, false) | (Self::Clusters, true) => Self::Events,
            (Self::Events, false) | (Self::Pods, true) => Self::Clusters,
        }
    }
}

/// How many lines are scrolled away at the top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    pub(super) pods: usize,
    /// Newest first.
    pub(super) events: usize,
}

/// A dialog in front of everything, which takes the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    Help,
    /// Asks whether to remove this cluster.
    Down(ClusterName),
    /// Asks whether to quit while commands run.
    Quit,
}

/// A command on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) verb: Verb,
    pub(super) name: ClusterName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Pause,
    Unpause,
    Down,
}

impl Verb {
    /// The name of the parbake command.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Down => "down",
        }
    }
}

/// A message for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// Why the dashboard ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The user quit.
    Quit,
    Signal(u8),
    /// The terminal or a thread failed.
    Broken(String),
}

impl Model {
    /// The model before the first poll.
    pub(super) fn new(now: Timestamp, colour: bool) -> Self {
        Self {
            now,
            colour,
            clusters: None,
            selected: None,
            status: None,
            histories: BTreeMap::new(),
            events: VecDeque::new(),
            pane: Pane::Clusters,
            scroll: Scroll::default(),
            details: false,
            dialog: None,
            jobs: Vec::new(),
            note: None,
            list_error: None,
            ended: None,
        }
    }

    /// The clusters of the last poll.
    pub(super) fn rows(&self) -> &[ClusterRow] {
        self.clusters.as_deref().unwrap_or_default()
    }

    /// The index of the selected cluster in the list.
    pub(super) fn index(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows().iter().position(|row| row.listed.name == *selected)
    }

    /// The selected cluster.
    pub(super) fn current(&self) -> Option<&ClusterRow> {
        self.rows().get(self.index()?)
    }

    /// The status of the selected cluster, if it is known.
    pub(super) fn current_status(&self) -> Option<&Status> {
        let status = self.status.as_ref()?;
        (Some(&status.name) == self.selected.as_ref()).then_some(status)
    }

    /// The events in the list. Milestones are shown as bars instead.
    pub(super) fn listed_events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        let events = self.events.iter();
        events.filter(|event| !matches!(event.kind, EventKind::Passed { .. }))
    }

    /// The last start of the selected cluster.
    pub(super) fn start(&self) -> Option<Start> {
        Start::last(&self.events, self.selected.as_ref()?)
    }

    /// Seconds since `start` began, if it still runs. The log has no end of a start that was killed.
    pub(super) fn elapsed(&self, start: &Start) -> Option<f64> {
        let elapsed = self.now.duration_since(start.began);
        let state = self.current().map(|row| row.listed.state);
        let alive = state == Some(ClusterState::Starting) || elapsed.as_secs() < START_GRACE;
        (start.state == StartState::Open && alive).then_some(elapsed.as_secs_f64().max(0.0))
    }

    /// True while a start or a command runs.
    pub(super) fn is_busy(&self) -> bool {
        let open = self.start().is_some_and(|start| self.elapsed(&start).is_some());
        open || !self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use parbake_up::ResourceUsage;

    use super::{HISTORY_LENGTH, History, Pane};

    #[test]
    fn cpus_are_computed_from_two_values() {
        let mut history = History::default();
        let values = [
            (0, 10.0),
            (1000, 10.5),
            (3000, 13.5),
            (3000, 13.5),
            (4000, 0.5),
            (5000, 0.75),
        ];
        let expected = [None, Some(0.5), Some(1.5), Some(1.5), None, Some(0.25)];
        for ((at, cpu_seconds), expected) in values.into_iter().zip(expected) {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(at);
            history.add(
                at,
                ResourceUsage {
                    memory_bytes: 7,
                    cpu_seconds,
                },
            );
            assert_eq!(history.last(), (Some(7.0), expected), "{at}");
        }
    }

    #[test]
    fn history_keeps_the_last_values() {
        let mut history = History::default();
        for number in 0..100_u32 {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number.into());
            let usage = ResourceUsage {
                memory_bytes: number.into(),
                cpu_seconds: number.into(),
            };
            history.add(at, usage);
        }
        assert_eq!(
            (history.memory.len(), history.cpu.len()),
            (HISTORY_LENGTH, HISTORY_LENGTH)
        );
        assert_eq!(history.last(), (Some(99.0), Some(1.0)));
    }

    #[test]
    fn panes_cycle_in_both_directions() {
        for pane in [Pane::Clusters, Pane::Pods, Pane::Events] {
            assert_eq!(pane.next(false).next(true), pane);
            assert_eq!(pane.next(false).next(false).next(false), pane);
        }
    }
}
