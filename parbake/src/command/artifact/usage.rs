//! `parbake artifact usage`

use std::collections::BTreeSet;

use parbake_artifact::{Inventory, Store, Usage};
use parbake_up::{layers_in_use, list};
use serde::Serialize;

use super::prune::{self, IDLE};
use crate::args::GlobalArgs;
use crate::output::{self, count, size, table};

/// Show the disk usage of the store, and how much can be freed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Bytes on disk.
#[derive(Debug, Serialize)]
struct Report {
    total_bytes: u64,
    blobs: Amount,
    unpacked: Amount,
    /// Files being written, or left by a killed process.
    leftovers: Amount,
    /// Needed by more than one artifact, counted once.
    shared: Amount,
    /// Freed by `artifact prune`: unneeded by artifacts and clusters, and leftovers.
    prunable: Amount,
    /// Freed by `artifact prune --keep 0`: everything that no cluster uses.
    idle: Amount,
}

#[derive(Debug, Serialize)]
struct Amount {
    count: usize,
    bytes: u64,
}

impl From<Usage> for Amount {
    fn from(part: Usage) -> Self {
        Self {
            count: part.count,
            bytes: part.bytes,
        }
    }
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, store: &Store) -> anyhow::Result<()> {
        let in_use: BTreeSet<_> = layers_in_use(&global.dir)?.into_iter().collect();
        let inventory = store.inventory()?;
        let idle = prune::pick(store, &list(&global.dir)?, &IDLE)?;
        let report = Report {
            total_bytes: total(&inventory),
            blobs: inventory.blobs().into(),
            unpacked: inventory.unpacked().into(),
            leftovers: inventory.leftovers().into(),
            shared: inventory.shared().into(),
            prunable: inventory.freed_by(&[], &in_use).into(),
            idle: inventory.freed_by(&idle, &in_use).into(),
        };
        output::print(global.output, &report, text)
    }
}

fn total(inventory: &Inventory) -> u64 {
    inventory.blobs().bytes + inventory.unpacked().bytes + inventory.leftovers().bytes
}

fn text(report: &Report) -> String {
    let row = |what: &str, amount: &Amount, note: &str| {
        let number = count(amount.count, note);
        [what.to_owned(), size(amount.bytes), number]
    };
    let rows = [
        row("blobs", &report.blobs, "file"),
        row("unpacked layers", &report.unpacked, "layer"),
        row("temporary", &report.leftovers, "file"),
        [
            "total".to_owned(),
            size(report.total_bytes),
            format!("{} shared between artifacts", size(report.shared.bytes)),
        ],
    ];
    format!(
        "{}\n`parbake artifact prune` frees {}, with `--keep 0` it frees {}\n",
        table(["DATA", "ON DISK", ""], rows),
        size(report.prunable.bytes),
        size(report.idle.bytes),
    )
}
