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

use super::attachments;
use crate::args::GlobalArgs;

/// Inspect, verify and remove the artifacts in the local store
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    /// Print the software bill of materials of an artifact (CycloneDX, JSON)
    Sbom(DocumentArgs),
    /// Print the provenance of an artifact (SLSA, in-toto statement)
    Provenance(DocumentArgs),
    Remove(remove::Args),
    Prune(prune::Args),
    Usage(usage::Args),
    Diff(diff::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct DocumentArgs {
    /// The artifact's name in the store, such as k8s-1.34
    tag: Tag,
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let store = Store::open(&global.store())?;
        match self {
            Self::Diff(args) => return args.run(global, &store),
            Self::List(args) => args.run(global, &store),
            Self::Inspect(args) => args.run(global, &store),
            Self::Verify(args) => args.run(global, store),
            Self::Sbom(DocumentArgs { tag }) => attachments::print(&store, &tag, DocumentKind::Sbom),
            Self::Provenance(DocumentArgs { tag }) => {
                attachments::print(&store, &tag, DocumentKind::Provenance)
            }
            Self::Remove(args) => args.run(global, store),
            Self::Prune(args) => args.run(global, store),
            Self::Usage(args) => args.run(global, &store),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// A list such as `a, b`; a dash if it is empty.
fn names(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "-".to_owned();
    }
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}
