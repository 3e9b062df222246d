//! Kubernetes' own conformance suite, run against a cluster that was baked with it.
//!
//! The suite is a program with all of its cases (`e2e.test`) and a runner of programs of that kind (`ginkgo`), in the image
//! `conformance` as the one that Kubernetes publishes has them (Kubernetes, `test/conformance/image`). They are run on the
//! first control plane, straight from the layers of that image: the node has the cluster's own kubectl and a way to the API.

mod markdown;
mod report;

use std::process::ExitStatus;

use parbake_cluster::machine_plan::IMAGES_DIR;
use parbake_machine::handle;
use parbake_machine::process;

use crate::{Cluster, ClusterName};
pub use markdown::RunInfo;
pub use report::{Case, Outcome, Report};

/// The cases that are quick and touch all parts of Kubernetes: the name of one a line, up to the suite's
/// `[Conformance]`.
const QUICK: &str = include_str!("quick.txt");
/// Where the run leaves its report, on a file system that ends with the machine.
const REPORTS: &str = "/run/parbake-conformance";
/// The administrator's way in on a control plane.
const KUBECONFIG: &str = "/etc/kubernetes/admin.conf";
/// What the suite calls the cases that make a cluster conformant.
const LABEL: &str = "Conformance";
/// Runs the suite; what it says goes where errors go, since the result is another one.
const RUN: &str = r#"
rm -rf "$REPORTS"
mkdir -p "$REPORTS"
exec "$@" >&2
"#;

/// Why the suite could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The artifact has no suite.
    #[error(
        "cluster `{0}` has no conformance suite: bake one with `parbake provision PROVIDER --addon conformance --tag \
         TAG`, and start that"
    )]
    NoSuite(ClusterName),
    /// No case is left.
    #[error("no conformance case is left to run; `parbake conformance --list` lists all")]
    NoCase,
    /// The run ended before it could report.
    #[error("the conformance suite ended early ({0}); its output says why")]
    Ended(ExitStatus),
    /// The node cannot be entered.
    #[error(transparent)]
    Machines(#[from] handle::Error),
    /// A command on the node failed.
    #[error(transparent)]
    Command(#[from] process::Error),
}

/// Which cases to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only cases whose name matches this regular expression (Go's package `regexp`).
    pub focus: Option<String>,
    /// No case whose name matches this one.
    pub skip: Option<String>,
    /// Only those of a fixed list that are quick.
    pub quick: bool,
    /// How many at the same time.
    pub parallel: usize,
}

/// The suite in a cluster.
#[derive(Debug)]
pub struct Suite<'a> {
    cluster: &'a Cluster,
    /// The node that it runs on.
    node: String,
    /// Where its programs are on the node.
    dir: String,
}

impl<'a> Suite<'a> {
    /// Finds the suite in `cluster`, called `name`.
    ///
    /// # Errors
    /// [`ConformanceError::NoSuite`], or the node cannot be entered.
    pub fn find(cluster: &'a Cluster, name: &ClusterName) -> Result<Self, ConformanceError> {
        let node = cluster.record().cluster.nodes()[0].name.to_string();
        let line = format!("ls -d /{IMAGES_DIR}/conformance/*/usr/local/bin 2>/dev/null || true");
        let found = cluster
            .running()
            .command(&node, ["sh", "-euc", &line])?
            .run()?
            .stdout;
        match found.lines().next() {
            Some(dir) => Ok(Self {
                cluster,
                node,
                dir: dir.to_owned(),
            }),
            None => Err(ConformanceError::NoSuite(name.clone())),
        }
    }

    /// The names of all conformance cases of the suite's version, sorted.
    ///
    /// # Errors
    /// The suite could not be asked.
    pub fn cases(&self) -> Result<Vec<String>, ConformanceError> {
        let words = [
            format!("{}/e2e.test", self.dir),
            "--list-conformance-tests".into(),
        ];
        let listed = self.cluster.running().command(&self.node, words)?.run()?;
        Ok(listed.parse(report::names)?)
    }

    /// Runs the cases that are wanted; what the suite says goes to standard error.
    ///
    /// # Errors
    /// The suite could not be run, ended before its end, or was left with no case. Cases that failed are in the report.
    pub fn run(&self, options: &Options) -> Result<Report, ConformanceError> {
        let words = arguments(&self.dir, options);
        let reports = format!("REPORTS={REPORTS}");
        let shell = ["env", &reports, "sh", "-euc", RUN, "sh"].map(str::to_owned);
        let status = self
            .cluster
            .running()
            .command(&self.node, shell.into_iter().chain(words))?
            .run_attached()?;
        let read = ["cat".to_owned(), format!("{REPORTS}/report.json")];
        let read = self.cluster.running().command(&self.node, read)?.run();
        let report: Report = read
            .map_err(|_| ConformanceError::Ended(status))?
            .parse(Report::read)?;
        if report.cases.is_empty() {
            return Err(ConformanceError::NoCase);
        }
        Ok(report)
    }

    /// The report of the last run in the form of JUnit, as the suite wrote it.
    ///
    /// # Errors
    /// There is none.
    pub fn junit(&self) -> Result<String, ConformanceError> {
        let read = ["cat".to_owned(), format!("{REPORTS}/junit.xml")];
        Ok(self.cluster.running().command(&self.node, read)?.run()?.stdout)
    }
}

/// The command that runs the suite.
fn arguments(dir: &str, options: &Options) -> Vec<String> {
    let mut words = vec![
        format!("{dir}/ginkgo"),
        format!("--procs={}", options.parallel.max(1)),
        "--no-color".into(),
        "--silence-skips".into(),
        "--timeout=24h".into(),
        format!("--label-filter={LABEL}"),
        format!("--output-dir={REPORTS}"),
        "--json-report=report.json".into(),
        "--junit-report=junit.xml".into(),
    ];
    // Cases that match any of these are run.
    words.extend(options.focus.iter().map(|focus| format!("--focus={focus}")));
    if options.quick {
        words.extend(quick().map(|name| format!("--focus={}", regex::escape(name))));
    }
    words.extend(options.skip.iter().map(|skip| format!("--skip={skip}")));
    words.extend([
        format!("{dir}/e2e.test"),
        "--".into(),
        format!("--kubeconfig={KUBECONFIG}"),
        "--provider=skeleton".into(),
        "--disable-log-dump".into(),
    ]);
    words
}

/// The names of the quick cases.
fn quick() -> impl Iterator<Item = &'static str> {
    QUICK.lines().filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Options, arguments, quick};

    #[test]
    fn quick_cases_are_many_and_no_expressions() {
        let names: BTreeSet<_> = quick().collect();
        assert_eq!(names.len(), quick().count());
        assert!(names.len() >= 60, "{}", names.len());
        let words = arguments(
            "/d",
            &Options {
                quick: true,
                ..Options::default()
            },
        );
        let focused = words.iter().filter(|word| word.starts_with("--focus="));
        assert_eq!(focused.count(), names.len());
        assert!(
            !words.iter().any(|word| word.contains("--focus=[sig")),
            "{words:?}"
        );
    }

    #[test]
    fn the_program_comes_after_the_runners_options() {
        let words = arguments(
            "/d",
            &Options {
                focus: Some("Pods".into()),
                skip: Some("Serial".into()),
                quick: false,
                parallel: 2,
            },
        );
        let place = |word: &str| words.iter().position(|found| found == word).unwrap();
        assert!(place("--focus=Pods") < place("/d/e2e.test"));
        assert!(place("--skip=Serial") < place("/d/e2e.test"));
        assert!(place("/d/e2e.test") < place("--kubeconfig=/etc/kubernetes/admin.conf"));
        assert!(words.contains(&"--procs=2".to_owned()));
    }
}
