//! `parbake bench`

use std::path::PathBuf;
use std::time::Duration;

use parbake_artifact::{Tag, disk_usage};
use parbake_up::{ClusterName, Options, dir_of, down, thaw};
use serde::Serialize;

use super::supervise;
use crate::cli::Global;
use crate::output::{self, size, table};

/// Measure, several times over, and give medians
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Measure how long `up` takes, by what it passes on its way
    Up(Args),
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// How many of the baked nodes to run [default: all]
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
}

/// What is printed. Times are seconds from the start of the command.
#[derive(Debug, Serialize)]
struct Report {
    artifact: Tag,
    digest: String,
    nodes: usize,
    runs: usize,
    events: Vec<Event>,
    /// Bytes of disk that each cluster took when it was ready, median.
    disk: u64,
}

/// One event on the way to readiness.
#[derive(Debug, Serialize)]
struct Event {
    name: &'static str,
    minimum: f64,
    median: f64,
    maximum: f64,
}

/// One run.
struct Run {
    digest: String,
    nodes: usize,
    times: [Duration; 5],
    disk: u64,
}

const EVENTS: [&str; 5] = ["/readyz", "nodes ready", "DNS answers", "pods ready", "all ready"];

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let Self::Up(args) = self;
        let runs = (1..=args.runs)
            .map(|number| {
                tracing::info!("run {number} of {}", args.runs);
                args.once(global)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        output::print(global.output, &args.report(&runs), text)
    }
}

impl Args {
    fn once(&self, global: &Global) -> anyhow::Result<Run> {
        // A name of its own, so that it stands in nobody's way.
        let name: ClusterName = format!("bench-{}", std::process::id()).parse()?;
        let thawed = super::block_on(thaw(&Options {
            tag: self.artifact.clone(),
            name: name.clone(),
            nodes: self.nodes,
            wait: Duration::from_secs(300),
            dir: global.dir.clone(),
            supervise: supervise::command()?,
        }))??;
        let dir: PathBuf = dir_of(&global.dir, &name);
        let disk = disk_usage(&dir)?;
        down(&global.dir, &name)?;
        let times = thawed.milestones;
        Ok(Run {
            digest: thawed.record.artifact.to_string(),
            nodes: thawed.record.cluster.nodes().len(),
            times: [times.api, times.nodes, times.dns, times.pods, times.ready],
            disk,
        })
    }

    fn report(&self, runs: &[Run]) -> Report {
        let events = EVENTS.iter().enumerate().map(|(index, name)| {
            let times = sorted(runs.iter().map(|run| run.times[index]));
            let seconds = |index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
            Event {
                name,
                minimum: seconds(0),
                median: seconds(times.len() / 2),
                maximum: seconds(times.len().saturating_sub(1)),
            }
        });
        let disk = sorted(runs.iter().map(|run| run.disk));
        Report {
            artifact: self.artifact.clone(),
            digest: runs.first().map(|run| run.digest.clone()).unwrap_or_default(),
            nodes: runs.first().map_or(0, |run| run.nodes),
            runs: runs.len(),
            events: events.collect(),
            disk: disk.get(disk.len() / 2).copied().unwrap_or_default(),
        }
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values
}

fn text(report: &Report) -> String {
    let rows = report.events.iter().map(|event| {
        let seconds = |value: f64| format!("{value:.2} s");
        [
            event.name.to_owned(),
            seconds(event.minimum),
            seconds(event.median),
            seconds(event.maximum),
        ]
    });
    format!(
        "{} with {} nodes, {} runs; disk of a cluster when ready: {}\n\n{}",
        report.artifact,
        report.nodes,
        report.runs,
        size(report.disk),
        table(["EVENT", "MIN", "MEDIAN", "MAX"], rows),
    )
}
