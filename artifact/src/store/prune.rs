//! Which artifacts are old enough to go.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::tag::Tag;

/// An artifact that might go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneCandidate {
    /// Its name.
    pub tag: Tag,
    /// When it was last made, pulled or started; the beginning of time where nobody knows.
    pub last_used: Timestamp,
    /// Whether a cluster was started from it and is still there.
    pub in_use: bool,
}

impl Store {
    /// All artifacts, those that are damaged too. `in_use` knows the manifests of those from which clusters were started.
    ///
    /// # Errors
    /// When the index, or when one was last used, cannot be read.
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

/// What is pruned: what neither rule keeps. Without rules nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Keep so many, those used last.
    pub keep: Option<usize>,
    /// Keep what was used since so long ago.
    pub older_than: Option<SignedDuration>,
}

impl Retention {
    /// The names that go, in order. What a cluster uses stays, and counts among those that are kept.
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
        let mut picked: Vec<Tag> = candidates
            .into_iter()
            .skip(self.keep.unwrap_or(0))
            .filter(|candidate| !candidate.in_use && is_old(candidate))
            .map(|candidate| candidate.tag)
            .collect();
        picked.sort_unstable();
        picked
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{PruneCandidate, Retention};

    /// Used one, two, ... hours before `now`, of which the third is in use.
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
    fn keeps_what_any_rule_keeps() {
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
            let picked = Retention { keep, older_than }.select(candidates(now), now);
            let picked: Vec<_> = picked.iter().map(|tag| tag.as_str()).collect();
            assert_eq!(picked, expected, "{keep:?} {older_than:?}");
        }
    }
}
