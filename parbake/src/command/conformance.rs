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

use crate::cli::Global;
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34 --addon conformance --tag conformance
  parbake up conformance                           a cluster that was baked with the suite
  parbake conformance --quick                      some of its cases, in minutes
  parbake conformance --focus 'sig-apps.*Deployment'
  parbake conformance --parallel 4 --page report.md   all of them, in an hour or two

What the suite itself says goes to standard error.
Exit codes: 0 all cases hold, 1 some do not, or the suite could not be run.";

/// Run Kubernetes' own conformance suite against a cluster that was baked with it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only cases whose name matches this regular expression
    #[arg(long, value_name = "REGEX", conflicts_with = "quick")]
    focus: Option<String>,
    /// No case whose name matches this one
    #[arg(long, value_name = "REGEX")]
    skip: Option<String>,
    /// Only some that are quick, from a fixed list
    #[arg(long)]
    quick: bool,
    /// How many cases to run at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    parallel: u16,
    /// Write a report in the form of JUnit, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page in Markdown, too: how many cases of each part of Kubernetes hold, and what failed
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// List all cases and run none
    #[arg(long, conflicts_with_all = ["focus", "skip", "quick", "junit", "page"])]
    list: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Printed {
    kubernetes: String,
    nodes: usize,
    passed: usize,
    failed: usize,
    /// They found that they cannot be run here.
    skipped: usize,
    /// How long the whole run took.
    seconds: u64,
    cases: Vec<Case>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        let suite = Suite::find(&cluster, &global.name)?;
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
            let described = &cluster.record().cluster;
            let info = RunInfo {
                kubernetes: described.kubernetes().to_string(),
                nodes: described.nodes().len(),
                processors: thread::available_parallelism().map_or(1, NonZero::get),
                parallel: self.parallel.into(),
                took,
            };
            fs::write(path, report.markdown(&info))
                .with_context(|| format!("could not write `{}`", path.display()))?;
        }
        let failed = report.count(Outcome::Failed);
        let printed = printed(&cluster, report, took);
        output::print(global.output, &printed, text)?;
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn printed(cluster: &Cluster, report: Report, took: Duration) -> Printed {
    let described = &cluster.record().cluster;
    Printed {
        kubernetes: described.kubernetes().to_string(),
        nodes: described.nodes().len(),
        passed: report.count(Outcome::Passed),
        failed: report.count(Outcome::Failed),
        skipped: report.count(Outcome::Skipped),
        seconds: took.as_secs(),
        cases: report.cases,
    }
}

fn text(printed: &Printed) -> String {
    let failed = printed
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
        count(printed.cases.len(), "conformance case"),
        printed.kubernetes,
        count(printed.nodes, "node"),
        printed.passed,
        printed.failed,
        printed.skipped,
        printed.seconds
    )
}
