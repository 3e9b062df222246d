//! `parbake artifact remove`

use std::collections::BTreeSet;

use parbake_artifact::{Removed, Store, Tag};
use parbake_up::layers_in_use;
use serde::Serialize;

use super::names;
use crate::args::GlobalArgs;
use crate::output::{self, size};

/// Remove artifacts, and the layers that nothing else needs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifacts' names in the store, such as k8s-1.34
    #[arg(required = true, value_name = "TAG")]
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
struct Report {
    removed: Vec<Tag>,
    freed_bytes: u64,
    /// Why no space was freed yet.
    later: Option<String>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, mut store: Store) -> anyhow::Result<()> {
        let in_use =
            || -> anyhow::Result<BTreeSet<_>> { Ok(layers_in_use(&global.dir)?.into_iter().collect()) };
        let (freed_bytes, later) = match store.remove(&self.tags, in_use)? {
            Removed::Freed(swept) => (swept.bytes, None),
            Removed::Later(why) => (0, Some(format!("{:#}", anyhow::Error::new(why)))),
        };
        let report = Report {
            removed: self.tags,
            freed_bytes,
            later,
        };
        output::report(global.output, &report, text)
    }
}

fn text(report: &Report) -> String {
    let removed = names(&report.removed);
    match &report.later {
        None => format!("removed {removed}, {} freed\n", size(report.freed_bytes)),
        Some(why) => {
            format!(
                "removed {removed}, no space freed yet: {why}\nfree it later with `parbake artifact prune`\n"
            )
        }
    }
}
