//! `parbake artifact`

mod diff;
mod inspect;
mod list;
mod prune;
mod remove;
mod usage;
mod verify;

use std::process::ExitCode;

use parbake_artifact::{Store, Tag};

use crate::cli::Global;

/// Look after the artifacts in the local store: frozen clusters
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Remove(remove::Args),
    Prune(prune::Args),
    Usage(usage::Args),
    Diff(diff::Args),
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let store = Store::open(&global.store())?;
        match self {
            Self::Diff(args) => return args.run(global, &store),
            Self::List(args) => args.run(global, &store),
            Self::Inspect(args) => args.run(global, &store),
            Self::Verify(args) => args.run(global, store),
            Self::Remove(args) => args.run(global, store),
            Self::Prune(args) => args.run(global, store),
            Self::Usage(args) => args.run(global, &store),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Names for people, such as `a`, `b`; a dash where there are none.
fn names(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "-".to_owned();
    }
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}
