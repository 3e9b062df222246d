//! `parbake bench layers`

mod chunks;
mod delta;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Context;
use parbake_artifact::{Artifact, Layer, Store, Tag};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, size, table};
use chunks::{Chunked, Cut};

/// How chunks are cut: every so many bytes, or where the content says so, so many on average.
const CUTS: [Cut; 5] = [
    Cut::Fixed { size: 64 << 10 },
    Cut::Fixed { size: 1 << 20 },
    Cut::Content { average: 16 << 10 },
    Cut::Content { average: 64 << 10 },
    Cut::Content { average: 256 << 10 },
];

const EXAMPLES: &str = "\
Example:
  parbake bench layers k8s-1.34.3 k8s-1.34.4    what somebody pulls who has the first already

one layer: all in a single one. layers: what parbake does. deltas: each changed layer against the
one of the same title (`zstd --patch-from`), the best that is possible. chunks: cut every so many
bytes, or by content (FastCDC), each compressed by itself and kept once.";

/// Measure what an update moves, by several ways to cut an artifact into pieces
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact that is there already
    old: Tag,
    /// The artifact that is pulled
    new: Tag,
    /// Write layers.md and layers.json into a folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    old: Tag,
    new: Tag,
    plans: Vec<Plan>,
    /// The layers of the new artifact that the old one does not have.
    changed: Vec<Changed>,
}

/// What a way to cut costs.
#[derive(Debug, Serialize)]
struct Plan {
    name: String,
    /// What a pull of the new artifact moves where there is nothing.
    full_bytes: u64,
    /// What it moves where the old one is.
    moved_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Changed {
    title: String,
    bytes: u64,
    /// What it is against the old one of the same title, where there is one.
    delta_bytes: Option<u64>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let store = Store::open(&global.store())?;
        let (old, new) = (store.get(&self.old)?, store.get(&self.new)?);
        let report = measure(&store, &old, &new)?;
        if let Some(folder) = &self.report {
            super::write(
                folder,
                &[
                    ("layers.md", markdown(&report)),
                    ("layers.json", serde_json::to_string_pretty(&report)? + "\n"),
                ],
            )?;
        }
        output::print(global.output, &report, text)
    }
}

fn measure(store: &Store, old: &Artifact, new: &Artifact) -> anyhow::Result<Report> {
    let have: BTreeSet<_> = old.layers.iter().map(|layer| &layer.digest).collect();
    let mut changed = Vec::new();
    for layer in new.layers.iter().filter(|layer| !have.contains(&layer.digest)) {
        let before = old.layers.iter().find(|other| other.title == layer.title);
        let delta = before.map(|before| {
            tracing::info!("delta of layer `{}`", layer.title);
            anyhow::Ok(delta::size(&plain(store, before)?, &plain(store, layer)?)?)
        });
        changed.push(Changed {
            title: layer.title.clone(),
            bytes: layer.size,
            delta_bytes: delta.transpose()?,
        });
    }
    let moved = changed.iter().map(|layer| layer.bytes).sum();
    let delta = |layer: &Changed| layer.delta_bytes.unwrap_or(layer.bytes);
    let plan = |name: &str, moved| Plan {
        name: name.to_owned(),
        full_bytes: new.size(),
        moved_bytes: moved,
    };
    let one = if changed.is_empty() { 0 } else { new.size() };
    let mut plans = vec![
        plan("one layer", one),
        plan("layers", moved),
        plan("deltas", changed.iter().map(delta).sum()),
    ];
    for cut in CUTS {
        plans.push(chunked(store, old, new, cut)?);
    }
    Ok(Report {
        old: old.tag.clone(),
        new: new.tag.clone(),
        plans,
        changed,
    })
}

fn chunked(store: &Store, old: &Artifact, new: &Artifact, cut: Cut) -> anyhow::Result<Plan> {
    tracing::info!("{cut}");
    let mut before = Chunked::default();
    for layer in &old.layers {
        before.add(&plain(store, layer)?, cut, false)?;
    }
    let mut after = Chunked::default();
    for layer in &new.layers {
        after.add(&plain(store, layer)?, cut, true)?;
    }
    Ok(Plan {
        name: cut.to_string(),
        full_bytes: after.size(),
        moved_bytes: after.size_without(&before),
    })
}

/// The layer's tar stream.
fn plain(store: &Store, layer: &Layer) -> anyhow::Result<Vec<u8>> {
    let path = store.blob_path(&layer.digest);
    let read = || zstd::decode_all(File::open(&path)?);
    read().with_context(|| format!("could not read layer `{}`", layer.title))
}

fn rows(report: &Report) -> impl Iterator<Item = [String; 4]> {
    report.plans.iter().map(|plan| {
        let share = 100.0 * plan.moved_bytes as f64 / plan.full_bytes.max(1) as f64;
        [
            plan.name.clone(),
            size(plan.full_bytes),
            size(plan.moved_bytes),
            format!("{share:.1} %"),
        ]
    })
}

fn changes(report: &Report) -> impl Iterator<Item = [String; 3]> {
    report.changed.iter().map(|layer| {
        let delta = layer.delta_bytes.map_or_else(|| "-".to_owned(), size);
        [layer.title.clone(), size(layer.bytes), delta]
    })
}

fn text(report: &Report) -> String {
    let plans = table(["PLAN", "FULL PULL", "UPDATE MOVES", "SHARE"], rows(report));
    let changed = table(["CHANGED LAYER", "SIZE", "DELTA"], changes(report));
    format!("{plans}\n{changed}")
}

fn markdown(report: &Report) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("# What moves from `{}` to `{}`\n\n", report.old, report.new);
    text += "| plan | full pull | update moves | share |\n|---|---|---|---|\n";
    text.extend(rows(report).map(|row| line(&row)));
    text += "\n| changed layer | size | delta |\n|---|---|---|\n";
    text.extend(changes(report).map(|row| line(&row)));
    text
}
