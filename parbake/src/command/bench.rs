//! `parbake bench`

use std::time::Duration;

use parbake_artifact::{Tag, disk_usage};
use parbake_up::{ClusterName, Options, dir_of, down, thaw};
use serde::Serialize;

use super::supervise;
use crate::cli::Global;
use crate::output::{self, count, size, table};

/// Measure how fast parbake is on this host
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start a cluster several times over, and say how long it took to each milestone
    Up(Args),
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// How many of the baked nodes to run, the first ones [default: all]
    #[arg(long, value_name = "N", value_parser = super::node_count())]
    nodes: Option<usize>,
    /// How many times to start it
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
    #[serde(flatten)]
    seconds: Spread,
}

/// What several measurements of one thing come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    minimum: f64,
    /// Of an even number of values, the mean of the two in the middle.
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
            timings: false,
        }))??;
        let disk = disk_usage(&dir_of(&global.dir, &name));
        down(&global.dir, &name)?;
        let times = thawed.milestones;
        Ok(Run {
            digest: thawed.record.artifact.to_string(),
            nodes: thawed.record.cluster.nodes().len(),
            times: [times.api, times.nodes, times.dns, times.pods, times.ready],
            disk: disk?,
        })
    }

    fn report(&self, runs: &[Run]) -> Report {
        let events = EVENTS.iter().enumerate().map(|(index, name)| {
            let seconds = Spread::of(runs.iter().map(|run| run.times[index].as_secs_f64()));
            Event { name, seconds }
        });
        let disk = Spread::of(runs.iter().map(|run| run.disk as f64));
        Report {
            artifact: self.artifact.clone(),
            digest: runs.first().map(|run| run.digest.clone()).unwrap_or_default(),
            nodes: runs.first().map_or(0, |run| run.nodes),
            runs: runs.len(),
            events: events.collect(),
            disk: disk.median.round() as u64,
        }
    }
}

impl Spread {
    /// Of values in any order; all zero where there is none.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self {
            minimum: at(0),
            median: f64::midpoint(at(last / 2), at(values.len() / 2)),
            maximum: at(last),
        }
    }
}

fn text(report: &Report) -> String {
    let rows = report.events.iter().map(|event| {
        let seconds = |value: f64| format!("{value:.2} s");
        [
            event.name.to_owned(),
            seconds(event.seconds.minimum),
            seconds(event.seconds.median),
            seconds(event.seconds.maximum),
        ]
    });
    format!(
        "{} with {}, {}; disk of a cluster when ready: {}\n\n{}",
        report.artifact,
        count(report.nodes, "node"),
        count(report.runs, "run"),
        size(report.disk),
        table(["EVENT", "MIN", "MEDIAN", "MAX"], rows),
    )
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let cases: [(&[f64], [f64; 3]); 5] = [
            (&[], [0.0, 0.0, 0.0]),
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[9.0, 4.0], [4.0, 6.5, 9.0]),
            (&[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]),
            (&[8.0, 1.0, 2.0, 3.0], [1.0, 2.5, 8.0]),
        ];
        for (values, [minimum, median, maximum]) in cases {
            let expected = Spread {
                minimum,
                median,
                maximum,
            };
            assert_eq!(Spread::of(values.iter().copied()), expected, "{values:?}");
        }
    }
}
