//! `parbake conformance`

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use parbake_up::Cluster;
use parbake_up::conformance::{Case, Options, Outcome, Report, RunInfo, Suite};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs, path};
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34 --addon conformance --tag conformance
  parbake up conformance                              a cluster that was baked with the suite
  parbake conformance --quick                         a few quick cases, in minutes
  parbake conformance --focus 'sig-apps.*Deployment'
  parbake conformance --parallel 4 --page report.md   all cases, in an hour or two

The output of the suite goes to standard error.
Exit codes: 0 all cases passed, 1 a case failed, or the suite could not run.";

/// Run the Kubernetes conformance suite on a cluster that was baked with it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Run only cases whose names match this regular expression
    #[arg(long, value_name = "REGEX", conflicts_with = "quick")]
    focus: Option<String>,
    /// Skip cases whose names match this regular expression
    #[arg(long, value_name = "REGEX")]
    skip: Option<String>,
    /// Run a fixed list of quick cases
    #[arg(long)]
    quick: bool,
    /// How many cases to run in parallel
    #[arg(long, value_name = "N", default_value_t = 1)]
    parallel: u16,
    /// Also write a JUnit report
    #[arg(long, value_name = "FILE", value_parser = path())]
    junit: Option<PathBuf>,
    /// Also write a Markdown page with the results by SIG, and the failures
    #[arg(long, value_name = "FILE", value_parser = path())]
    markdown: Option<PathBuf>,
    /// List all cases instead of running them
    #[arg(long, conflicts_with_all = ["focus", "skip", "quick", "junit", "page"])]
    list: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    kubernetes: String,
    nodes: usize,
    passed: usize,
    failed: usize,
    /// Cases that do not apply to this cluster.
    skipped: usize,
    seconds: u64,
    cases: Vec<Case>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let name = &self.cluster.name;
        let cluster = Cluster::find(&global.dir, name)?;
        let suite = Suite::find(&cluster, name)?;
        if self.list {
            output::print(global.output, &suite.cases()?, |cases| cases.join("\n") + "\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        let started = Instant::now();
        let report = suite.run(&Options {
            focus: self.focus,
            skip: self.skip,
            quick: self.quick,
            parallel: self.parallel.into(),
        })?;
        if let Some(path) = &self.junit {
            fs::write(path, suite.junit()?)
                .with_context(|| format!("could not write `{}`", path.display()))?;
        }
        let took = started.elapsed();
        if let Some(path) = &self.markdown {
            let description = &cluster.record().cluster;
            let info = RunInfo {
                kubernetes: description.kubernetes().to_string(),
                nodes: description.nodes().len(),
                processors: thread::available_parallelism().map_or(1, NonZero::get),
                parallel: self.parallel.into(),
                took,
            };
            fs::write(path, report.markdown(&info))
                .with_context(|| format!("could not write `{}`", path.display()))?;
        }
        let failed = report.count(Outcome::Failed);
        output::print(global.output, &summarize(&cluster, report, took), text)?;
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn summarize(cluster: &Cluster, report: Report, took: Duration) -> Summary {
    let description = &cluster.record().cluster;
    Summary {
        kubernetes: description.kubernetes().to_string(),
        nodes: description.nodes().len(),
        passed: report.count(Outcome::Passed),
        failed: report.count(Outcome::Failed),
        skipped: report.count(Outcome::Skipped),
        seconds: took.as_secs(),
        cases: report.cases,
    }
}

fn text(summary: &Summary) -> String {
    let failed = summary
        .cases
        .iter()
        .filter(|case| case.outcome == Outcome::Failed);
    let failed = failed.map(|case| {
        let message = case.message.as_deref().unwrap_or_default();
        format!(
            "failed: {}\n  {}\n",
            case.name,
            message.lines().next().unwrap_or_default()
        )
    });
    format!(
        "{}{} on Kubernetes {} with {}: {} passed, {} failed, {} skipped, in {} s\n",
        failed.collect::<String>(),
        count(summary.cases.len(), "conformance case"),
        summary.kubernetes,
        count(summary.nodes, "node"),
        summary.passed,
        summary.failed,
        summary.skipped,
        summary.seconds
    )
}
