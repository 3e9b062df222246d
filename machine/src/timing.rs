//! Points and spans of time on the clock that all processes of a host share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The time since the host booted (`CLOCK_MONOTONIC`). Machines have the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonotonicTime(pub Duration);

impl MonotonicTime {
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // Seconds since the boot are not negative, and nanoseconds are below a billion.
        Self(Duration::new(
            now.tv_sec.try_into().unwrap_or_default(),
            now.tv_nsec.try_into().unwrap_or_default(),
        ))
    }
}

/// A named span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    #[serde(rename = "what")]
    pub name: String,
    pub from: MonotonicTime,
    pub to: MonotonicTime,
}

/// Spans in the order in which they ended.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Adds a span from `from` until now.
    pub fn record(&mut self, name: impl Into<String>, from: MonotonicTime) {
        self.0.push(Span {
            name: name.into(),
            from,
            to: MonotonicTime::now(),
        });
    }

    /// Runs `act` and records how long it took.
    pub fn time<T>(&mut self, name: &str, act: impl FnOnce() -> T) -> T {
        let from = MonotonicTime::now();
        let outcome = act();
        self.record(name, from);
        outcome
    }

    pub fn into_vec(self) -> Vec<Span> {
        self.0
    }
}
