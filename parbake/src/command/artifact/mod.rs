//! `parbake artifact`

mod diff;
mod inspect;
mod list;
pub(super) mod prune;
mod remove;
mod usage;
mod verify;

use std::process::ExitCode;

use parbake_artifact::{DocumentKind, Store, Tag};

use super::attached;
use crate::cli::Global;

/// Look after the artifacts in the local store: frozen clusters
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    /// Print what an artifact consists of: its software bill of materials, CycloneDX as JSON
    Sbom(Document),
    /// Print what an artifact was made from, and how: SLSA provenance as an in-toto statement
    Provenance(Document),
    Remove(remove::Args),
    Prune(prune::Args),
    Usage(usage::Args),
    Diff(diff::Args),
}

/// The artifact that the document is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Document {
    /// The artifact's name in the store, such as k8s-1.34
    tag: Tag,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let store = Store::open(&global.store())?;
        match self {
            Self::Diff(args) => return args.run(global, &store),
            Self::List(args) => args.run(global, &store),
            Self::Inspect(args) => args.run(global, &store),
            Self::Verify(args) => args.run(global, store),
            Self::Sbom(Document { tag }) => attached::print(&store, &tag, DocumentKind::Sbom),
            Self::Provenance(Document { tag }) => attached::print(&store, &tag, DocumentKind::Provenance),
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
