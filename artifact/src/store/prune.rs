//! Selects old artifacts for removal.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::tag::Tag;

/// An artifact that may be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneCandidate {
    pub tag: Tag,
    /// When it was last made, pulled or started; the Unix epoch if unknown.
    pub last_used: Timestamp,
    /// True if a cluster that was started from it exists.
    pub in_use: bool,
}

impl Store {
    /// All artifacts, including damaged ones. `in_use` is true for manifests that clusters were started from.
    ///
    /// # Errors
    /// The index or the time of last use cannot be read.
    pub fn candidates(&self, in_use: impl Fn(&Digest) -> bool) -> Result<Vec<PruneCandidate>, StoreError> {
        let mut candidates = Vec::new();
        for (tag, reference) in self.references()? {
            candidates.push(PruneCandidate {
                last_used: self.last_used(&tag)?.unwrap_or(Timestamp::UNIX_EPOCH),
                in_use: in_use(&reference.digest),
                tag,
            });
        }
        Ok(candidates)
    }
}

/// Rules for what to keep. Everything else is pruned; without rules, nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Keep this many, those used last.
    pub keep: Option<usize>,
    /// Keep what was used within this time.
    pub older_than: Option<SignedDuration>,
}

impl Retention {
    /// The names to remove, in order. Artifacts in use stay, and count towards `keep`.
    pub fn select(&self, mut candidates: Vec<PruneCandidate>, now: Timestamp) -> Vec<Tag> {
        if self.keep.is_none() && self.older_than.is_none() {
            return Vec::new();
        }
        candidates.sort_by_cached_key(|candidate| {
            (
                Reverse(candidate.in_use),
                Reverse(candidate.last_used),
                candidate.tag.clone(),
            )
        });
        let age = |candidate: &PruneCandidate| now.duration_since(candidate.last_used);
        let is_old = |candidate: &PruneCandidate| self.older_than.is_none_or(|limit| age(candidate) > limit);
        let mut selected: Vec<Tag> = candidates
            .into_iter()
            .skip(self.keep.unwrap_or(0))
            .filter(|candidate| !candidate.in_use && is_old(candidate))
            .map(|candidate| candidate.tag)
            .collect();
        selected.sort_unstable();
        selected
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{PruneCandidate, Retention};

    /// Artifacts last used one, two, ... hours before `now`; the third is in use.
    fn candidates(now: Timestamp) -> Vec<PruneCandidate> {
        let candidate = |(number, name): (usize, &str)| PruneCandidate {
            tag: name.parse().unwrap(),
            last_used: now - SignedDuration::from_hours(number as i64 + 1),
            in_use: number == 2,
        };
        ["d", "c", "b", "a"]
            .into_iter()
            .enumerate()
            .map(candidate)
            .collect()
    }

    #[test]
    fn artifacts_that_any_rule_keeps_stay() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let hours = SignedDuration::from_hours;
        let cases: [(Option<usize>, Option<SignedDuration>, &[&str]); 9] = [
            (None, None, &[]),
            (Some(0), None, &["a", "c", "d"]),
            (Some(1), None, &["a", "c", "d"]),
            (Some(2), None, &["a", "c"]),
            (Some(9), None, &[]),
            (None, Some(hours(0)), &["a", "c", "d"]),
            (None, Some(hours(1)), &["a", "c"]),
            (None, Some(hours(4)), &[]),
            (Some(2), Some(hours(2)), &["a"]),
        ];
        for (keep, older_than, expected) in cases {
            let selected = Retention { keep, older_than }.select(candidates(now), now);
            let selected: Vec<_> = selected.iter().map(|tag| tag.as_str()).collect();
            assert_eq!(selected, expected, "{keep:?} {older_than:?}");
        }
    }
}
