//! `parbake artifact prune`

use std::collections::BTreeSet;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use parbake_artifact::{Digest, Removed, Retention, Store, Tag};
use parbake_up::{ClusterListing, layers_in_use, list};
use serde::Serialize;

use super::names;
use crate::args::{GlobalArgs, age};
use crate::output::{self, size};

const EXAMPLES: &str = "\
Examples:
  parbake artifact prune                             unneeded layers and leftovers only
  parbake artifact prune --older-than 30d            also artifacts not used for 30 days
  parbake artifact prune --keep 3                    also all but the 3 used last
  parbake artifact prune --keep 3 --older-than 30d   all but the 3 used last, if not used for 30 days
  parbake artifact prune --keep 0 --dry-run          show what would be removed

An artifact is used when it is baked, pulled or started. What a cluster uses is never removed.";

/// Selects everything that no cluster uses.
pub(super) const IDLE: Retention = Retention {
    keep: Some(0),
    older_than: None,
};

/// Remove artifacts that were not used for long, and unneeded data
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Keep the N artifacts that were used last
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Remove only what was not used for this time, such as 12h or 30d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<SignedDuration>,
    /// Show what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    removed: Vec<Tag>,
    freed_bytes: u64,
    dry_run: bool,
}

/// The artifacts that `retention` removes.
pub(super) fn pick(
    store: &Store,
    clusters: &[ClusterListing],
    retention: &Retention,
) -> anyhow::Result<Vec<Tag>> {
    let in_use = |digest: &Digest| clusters.iter().any(|cluster| cluster.digest == *digest);
    Ok(retention.select(store.candidates(in_use)?, Timestamp::now()))
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, mut store: Store) -> anyhow::Result<()> {
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
            // No cluster can start while the store is locked, so the list stays valid.
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
        output::report(global.output, &report, text)
    }
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
