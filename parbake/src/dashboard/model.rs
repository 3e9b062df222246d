//! What the status page shows.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use parbake_up::events::{Event, EventKind, Start, StartState};
use parbake_up::{ClusterListing, ClusterName, ClusterState, ResourceUsage, Status};

/// How many looks a history remembers.
pub(super) const MEMORY: usize = 32;
/// How many events are kept at hand.
pub(super) const EVENTS: usize = 1000;
/// For how many seconds a start may be under way before the host has anything to show of it.
const EARLY: i64 = 5;

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    /// The time.
    pub(super) now: Timestamp,
    /// Whether there are colours.
    pub(super) colour: bool,
    /// The clusters by name; nothing before the first look.
    pub(super) clusters: Option<Vec<Seen>>,
    /// The cluster that is looked at closely.
    pub(super) chosen: Option<ClusterName>,
    /// How the chosen cluster is; nothing before the first look.
    pub(super) status: Option<Status>,
    /// What clusters took, and their nodes: `ci`, `ci/node01`.
    pub(super) histories: BTreeMap<String, History>,
    /// The last events, oldest first.
    pub(super) events: VecDeque<Event>,
    /// Where the arrow keys go.
    pub(super) pane: Pane,
    /// How many pods and events are above the first one that is shown.
    pub(super) scroll: Scroll,
    /// Whether the chosen cluster has the whole screen.
    pub(super) details: bool,
    /// What stands in front of everything.
    pub(super) dialog: Option<Dialog>,
    /// Commands that were asked for here and go on.
    pub(super) jobs: Vec<Job>,
    /// What there is to say in the last line.
    pub(super) note: Option<Note>,
    /// Why the clusters cannot be seen.
    pub(super) trouble: Option<String>,
    /// Why it is over.
    pub(super) ended: Option<Ended>,
}

/// A cluster in the list.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) listed: ClusterListing,
    pub(super) taken: Option<ResourceUsage>,
}

/// What something took, look after look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct History {
    last: Option<(Timestamp, f64)>,
    /// Bytes.
    pub(super) memory: VecDeque<f64>,
    /// Processors, such as 1.5.
    pub(super) cpu: VecDeque<f64>,
}

impl History {
    /// Adds a look. The processors in use follow from two of them.
    pub(super) fn add(&mut self, at: Timestamp, taken: ResourceUsage) {
        if let Some((before, seconds)) = self.last {
            let passed = at.duration_since(before).as_secs_f64();
            let used = taken.cpu_seconds - seconds;
            if used < 0.0 {
                // It was started anew.
                *self = Self::default();
            } else if passed > 0.0 {
                push(&mut self.cpu, used / passed);
            }
        }
        push(&mut self.memory, precise(taken.memory_bytes));
        self.last = Some((at, taken.cpu_seconds));
    }

    /// What it takes now: bytes and processors.
    pub(super) fn now(&self) -> (Option<f64>, Option<f64>) {
        (self.memory.back().copied(), self.cpu.back().copied())
    }
}

fn push(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == MEMORY {
        values.pop_front();
    }
    values.push_back(value);
}

#[expect(clippy::cast_precision_loss, reason = "a picture needs no single bytes")]
fn precise(bytes: u64) -> f64 {
    bytes as f64
}

/// Where the arrow keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Clusters,
    Pods,
    Events,
}

impl Pane {
    /// The next one, or the one before.
    pub(super) fn next(self, back: bool) -> Self {
        match (self, back) {
            (Self::Clusters, false) | (Self::Events, true) => Self::Pods,
            (Self::Pods, false) | (Self::Clusters, true) => Self::Events,
            (Self::Events, false) | (Self::Pods, true) => Self::Clusters,
        }
    }
}

/// How many lines are above what is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    pub(super) pods: usize,
    /// Newest first.
    pub(super) events: usize,
}

/// What stands in front of everything and takes the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    Help,
    /// Remove this cluster?
    Down(ClusterName),
    /// Quit though commands go on?
    Quit,
}

/// A command that works on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) verb: Verb,
    pub(super) name: ClusterName,
}

/// What can be done with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Pause,
    Unpause,
    Down,
}

impl Verb {
    /// The name of the command.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Down => "down",
        }
    }
}

/// A line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: String,
    /// Whether something went wrong.
    pub(super) bad: bool,
}

/// Why it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The user is done.
    Asked,
    /// A signal came.
    Signal(u8),
    /// It cannot go on.
    Broken(String),
}

impl Model {
    /// Before anything was looked at.
    pub(super) fn new(now: Timestamp, colour: bool) -> Self {
        Self {
            now,
            colour,
            clusters: None,
            chosen: None,
            status: None,
            histories: BTreeMap::new(),
            events: VecDeque::new(),
            pane: Pane::Clusters,
            scroll: Scroll::default(),
            details: false,
            dialog: None,
            jobs: Vec::new(),
            note: None,
            trouble: None,
            ended: None,
        }
    }

    /// The clusters that were seen.
    pub(super) fn seen(&self) -> &[Seen] {
        self.clusters.as_deref().unwrap_or_default()
    }

    /// The place of the chosen cluster among them.
    pub(super) fn index(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.seen().iter().position(|seen| seen.listed.name == *chosen)
    }

    /// The chosen cluster.
    pub(super) fn current(&self) -> Option<&Seen> {
        self.seen().get(self.index()?)
    }

    /// How the chosen cluster is, if that was seen since it was chosen.
    pub(super) fn current_status(&self) -> Option<&Status> {
        let status = self.status.as_ref()?;
        (Some(&status.name) == self.chosen.as_ref()).then_some(status)
    }

    /// The events that are listed: milestones have a picture of their own.
    pub(super) fn told(&self) -> impl DoubleEndedIterator<Item = &Event> {
        let events = self.events.iter();
        events.filter(|event| !matches!(event.what, EventKind::Passed { .. }))
    }

    /// The last start of the chosen cluster.
    pub(super) fn start(&self) -> Option<Start> {
        Start::last(&self.events, self.chosen.as_ref()?)
    }

    /// For how many seconds a start has been going on, if it does: one that was killed has no end in the log.
    pub(super) fn elapsed(&self, start: &Start) -> Option<f64> {
        let passed = self.now.duration_since(start.began);
        let state = self.current().map(|seen| seen.listed.state);
        let alive = state == Some(ClusterState::Starting) || passed.as_secs() < EARLY;
        (start.state == StartState::Open && alive).then_some(passed.as_secs_f64().max(0.0))
    }

    /// Whether there is something that changes all the time.
    pub(super) fn is_busy(&self) -> bool {
        let open = self.start().is_some_and(|start| self.elapsed(&start).is_some());
        open || !self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use parbake_up::ResourceUsage;

    use super::{History, MEMORY, Pane};

    #[test]
    fn processors_follow_from_two_looks() {
        let mut history = History::default();
        let looks = [
            (0, 10.0),
            (1000, 10.5),
            (3000, 13.5),
            (3000, 13.5),
            (4000, 0.5),
            (5000, 0.75),
        ];
        let expected = [None, Some(0.5), Some(1.5), Some(1.5), None, Some(0.25)];
        for ((at, cpu_seconds), expected) in looks.into_iter().zip(expected) {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(at);
            history.add(
                at,
                ResourceUsage {
                    memory_bytes: 7,
                    cpu_seconds,
                },
            );
            assert_eq!(history.now(), (Some(7.0), expected), "{at}");
        }
    }

    #[test]
    fn a_history_forgets() {
        let mut history = History::default();
        for number in 0..100_u32 {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number.into());
            let taken = ResourceUsage {
                memory_bytes: number.into(),
                cpu_seconds: number.into(),
            };
            history.add(at, taken);
        }
        assert_eq!((history.memory.len(), history.cpu.len()), (MEMORY, MEMORY));
        assert_eq!(history.now(), (Some(99.0), Some(1.0)));
    }

    #[test]
    fn panes_go_round_both_ways() {
        for pane in [Pane::Clusters, Pane::Pods, Pane::Events] {
            assert_eq!(pane.next(false).next(true), pane);
            assert_eq!(pane.next(false).next(false).next(false), pane);
        }
    }
}
