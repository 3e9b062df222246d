//! Stretches of time that processes of a host can compare: they are told by the clock that all of them share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment, as the time since the host booted (`CLOCK_MONOTONIC`). Machines have the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonotonicTime(pub Duration);

impl MonotonicTime {
    /// This moment.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // Seconds since the boot are not negative, and nanoseconds are below a billion.
        Self(Duration::new(
            now.tv_sec.try_into().unwrap_or_default(),
            now.tv_nsec.try_into().unwrap_or_default(),
        ))
    }
}

/// What took from when until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// What it was.
    pub what: String,
    /// When it began.
    pub from: MonotonicTime,
    /// When it ended.
    pub to: MonotonicTime,
}

/// Spans in the order in which they ended.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Ends a span that began at `from`.
    pub fn end(&mut self, what: impl Into<String>, from: MonotonicTime) {
        self.0.push(Span {
            what: what.into(),
            from,
            to: MonotonicTime::now(),
        });
    }

    /// Runs `act` as a span.
    pub fn time<T>(&mut self, what: &str, act: impl FnOnce() -> T) -> T {
        let from = MonotonicTime::now();
        let outcome = act();
        self.end(what, from);
        outcome
    }

    /// The spans.
    pub fn into_vec(self) -> Vec<Span> {
        self.0
    }
}
