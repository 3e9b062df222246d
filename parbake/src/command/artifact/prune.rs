//! `parbake artifact prune`

use std::collections::BTreeSet;

use anyhow::bail;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use parbake_artifact::{Digest, Removed, Retention, Store, Tag};
use parbake_up::{ClusterListing, layers_in_use, list};
use serde::Serialize;

use super::names;
use crate::cli::Global;
use crate::output::{self, size};

const EXAMPLES: &str = "\
Examples:
  parbake artifact prune                             what nothing needs, and killed commands left
  parbake artifact prune --older-than 30d            artifacts too that were not used for 30 days
  parbake artifact prune --keep 3                    all artifacts but the 3 that were used last
  parbake artifact prune --keep 3 --older-than 30d   of these only what was not used for 30 days
  parbake artifact prune --keep 0 --dry-run          say what would go

To make, to pull and to start an artifact is to use it. What a cluster uses is never removed.";

/// All that no cluster uses.
pub(super) const IDLE: Retention = Retention {
    keep: Some(0),
    older_than: None,
};

/// Remove artifacts that were not used for long, and what nothing needs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Keep so many artifacts, those that were used last
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Keep what was used since so long ago, such as 12h or 30d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<SignedDuration>,
    /// Remove nothing, and say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    removed: Vec<Tag>,
    freed_bytes: u64,
    dry_run: bool,
}

/// The artifacts that go by `retention`.
pub(super) fn pick(
    store: &Store,
    clusters: &[ClusterListing],
    retention: &Retention,
) -> anyhow::Result<Vec<Tag>> {
    let in_use = |digest: &Digest| clusters.iter().any(|cluster| cluster.digest == *digest);
    Ok(retention.select(store.candidates(in_use)?, Timestamp::now()))
}

impl Args {
    pub(crate) fn run(self, global: &Global, mut store: Store) -> anyhow::Result<()> {
        let retention = Retention {
            keep: self.keep,
            older_than: self.older_than,
        };
        let in_use =
            || -> anyhow::Result<BTreeSet<_>> { Ok(layers_in_use(&global.dir)?.into_iter().collect()) };
        let (removed, freed_bytes) = if self.dry_run {
            let removed = pick(&store, &list(&global.dir)?, &retention)?;
            let freed = store.inventory()?.freed_by(&removed, &in_use()?);
            (removed, freed.bytes)
        } else {
            // No cluster is started from now on, so that what is known of them stays true.
            let alone = store.exclusive()?;
            let removed = pick(&alone, &list(&global.dir)?, &retention)?;
            match alone.remove(&removed, &in_use()?)? {
                Removed::Freed(swept) => (removed, swept.bytes),
                Removed::Later(why) => bail!(why),
            }
        };
        let report = Report {
            removed,
            freed_bytes,
            dry_run: self.dry_run,
        };
        output::print(global.output, &report, text)
    }
}

/// Reads hours, days and the like.
pub(in crate::command) fn age(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no age such as 12h or 30d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    // Months and years are of any length.
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours());
    age.ok().filter(|age| !age.is_negative()).ok_or_else(wrong)
}

fn text(report: &Report) -> String {
    let (removed, freed) = (names(&report.removed), size(report.freed_bytes));
    match (report.dry_run, report.removed.is_empty()) {
        (true, true) => format!("would remove no artifact, and free {freed}\n"),
        (true, false) => format!("would remove {removed}, and free {freed}\n"),
        (false, true) => format!("removed no artifact, {freed} freed\n"),
        (false, false) => format!("removed {removed}, {freed} freed\n"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::age;

    #[test]
    fn ages_are_of_a_known_length() {
        let cases = [("12h", 12), ("30d", 720), ("2w", 336), ("1d12h", 36), ("0h", 0)];
        for (text, hours) in cases {
            assert_eq!(age(text), Ok(SignedDuration::from_hours(hours)), "{text}");
        }
        assert_eq!(age("90m"), Ok(SignedDuration::from_mins(90)));
        for text in ["", "12", "-1h", "1h ago", "1mo", "1y", "soon", "999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
