//! Telling evidence of this boot from what was frozen.

use jiff::{SignedDuration, Timestamp, Unit};

/// How far a time may lie ahead of the look: the API's answer is older than the look, never newer, but the
/// clock may be set while we wait.
const AHEAD: SignedDuration = SignedDuration::from_secs(1);

/// The span of time that evidence must fall into.
///
/// A time after `now` is no evidence either: it was frozen on a host whose clock ran ahead of ours.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// When the first machine was started.
    pub boot: Timestamp,
    /// When the evidence was looked at.
    pub now: Timestamp,
}

impl Since {
    /// Judges a time that was written with its fraction of a second (`MicroTime`: leases).
    pub(super) fn exact(&self, time: Timestamp) -> bool {
        time > self.boot && self.not_ahead(time)
    }

    /// Judges a time whose fraction of a second was cut off when written (`Time`: containers, conditions).
    pub(crate) fn whole_seconds(&self, time: Timestamp) -> bool {
        let nanoseconds = i128::from(self.boot.subsec_nanosecond());
        let boot_second = self.boot.as_nanosecond() - nanoseconds;
        time.as_nanosecond() >= boot_second && self.not_ahead(time)
    }

    fn not_ahead(&self, time: Timestamp) -> bool {
        time.duration_since(self.now) <= AHEAD
    }
}

/// A time for a message: whole seconds say enough.
pub(super) fn show(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::Since;

    #[test]
    fn evidence_lies_between_boot_and_now() {
        let since = Since {
            boot: "2026-03-01T10:00:00.7Z".parse().unwrap(),
            now: "2026-03-01T10:00:20.5Z".parse().unwrap(),
        };
        // (time, believed with its fraction, believed in whole seconds)
        let cases = [
            ("2026-02-01T10:00:00Z", false, false),
            ("2026-03-01T09:59:59Z", false, false),
            // A container that starts 0.2 s after the boot is written as one of 10:00:00.
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
                (since.exact(parsed), since.whole_seconds(parsed)),
                (exact, whole),
                "{time}"
            );
        }
    }
}
