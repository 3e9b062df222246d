//! Distinguishing evidence of this boot from frozen state.

use jiff::{SignedDuration, Timestamp, Unit};

/// How far a time may be ahead of the observation. The API's answer is never newer than the observation, but the clock may
/// be set during a wait.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// The span of time that evidence must fall into.
///
/// A time after `now` does not count either: it was frozen on a host whose clock was ahead.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceWindow {
    /// When the first machine was started.
    pub boot: Timestamp,
    /// When the evidence was observed.
    pub now: Timestamp,
}

impl EvidenceWindow {
    pub(super) fn until_now(boot: Timestamp) -> Self {
        Self {
            boot,
            now: Timestamp::now(),
        }
    }

    /// Checks a time with fractions of a second (`MicroTime`: leases).
    pub(super) fn contains(&self, time: Timestamp) -> bool {
        time > self.boot && self.is_past(time)
    }

    /// Checks a time that Kubernetes truncates to seconds (`Time`: containers, conditions).
    pub(super) fn contains_second(&self, time: Timestamp) -> bool {
        let nanoseconds = i128::from(self.boot.subsec_nanosecond());
        let boot_second = self.boot.as_nanosecond() - nanoseconds;
        time.as_nanosecond() >= boot_second && self.is_past(time)
    }

    fn is_past(&self, time: Timestamp) -> bool {
        time.duration_since(self.now) <= CLOCK_TOLERANCE
    }
}

/// A time for a message, rounded to seconds.
pub(super) fn format_time(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::EvidenceWindow;

    #[test]
    fn evidence_lies_between_boot_and_now() {
        let window = EvidenceWindow {
            boot: "2026-03-01T10:00:00.7Z".parse().unwrap(),
            now: "2026-03-01T10:00:20.5Z".parse().unwrap(),
        };
        // (time, accepted as exact, accepted as truncated to seconds)
        let cases = [
            ("2026-02-01T10:00:00Z", false, false),
            ("2026-03-01T09:59:59Z", false, false),
            // A container that starts 0.2 s after the boot is recorded with 10:00:00.
            ("2026-03-01T10:00:00Z", false, true),
            ("2026-03-01T10:00:00.7Z", false, true),
            ("2026-03-01T10:00:00.8Z", true, true),
            ("2026-03-01T10:00:20Z", true, true),
            ("2026-03-01T10:00:21.4Z", true, true),
            ("2026-03-01T10:00:22Z", false, false),
            ("2026-03-01T11:00:00Z", false, false),
        ];
        for (time, exact, whole) in cases {
            let parsed = time.parse().unwrap();
            assert_eq!(
                (window.contains(parsed), window.contains_second(parsed)),
                (exact, whole),
                "{time}"
            );
        }
    }
}
