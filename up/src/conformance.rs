//! Runs the Kubernetes conformance suite against a cluster that was baked with it.
//!
//! The suite consists of the test program `e2e.test` and its runner `ginkgo`, in an image `conformance` that is laid out like
//! the published one (Kubernetes, `test/conformance/image`). Both run on the first control plane, directly from the layers of
//! that image: the node has the cluster's kubectl and can reach the API.

mod markdown;
mod report;

use std::process::ExitStatus;

use parbake_cluster::model::machine_plan::IMAGES_DIR;

use crate::{Cluster, ClusterName};
pub use markdown::RunInfo;
pub use report::{Case, Outcome, Report};

/// Short cases from all areas of Kubernetes, one name per line, up to the suite's `[Conformance]`.
const QUICK: &str = include_str!("conformance/quick.txt");
/// The directory of the reports on the node, on a tmpfs.
const REPORTS: &str = "/run/parbake-conformance";
/// The administrator's kubeconfig on a control plane.
const KUBECONFIG: &str = "/etc/kubernetes/admin.conf";
/// The label of conformance cases.
const LABEL: &str = "Conformance";
/// Runs the suite. Its output goes to standard error, since standard output is for parbake's own result.
const RUN: &str = r#"
rm -rf "$REPORTS"
mkdir -p "$REPORTS"
exec "$@" >&2
"#;

#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    #[error(
        "cluster `{0}` has no conformance suite; bake an artifact with it by `parbake provision PROVIDER --addon \
         conformance --tag TAG` and start that"
    )]
    NoSuite(ClusterName),
    #[error("no conformance case matches; `parbake conformance --list` lists all")]
    NoCase,
    #[error("the conformance suite exited without a report ({0}); see its output above")]
    Ended(ExitStatus),
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Run only cases whose name matches this regular expression (Go's package `regexp`).
    pub focus: Option<String>,
    /// Skip cases whose name matches this regular expression.
    pub skip: Option<String>,
    /// Run only the cases of a fixed list of short ones.
    pub quick: bool,
    /// How many cases run at the same time.
    pub parallel: usize,
}

/// The suite in a cluster.
#[derive(Debug)]
pub struct Suite<'a> {
    cluster: &'a Cluster,
    /// The node that it runs on.
    node: String,
    /// The directory of its programs on the node.
    dir: String,
}

impl<'a> Suite<'a> {
    /// Finds the suite in `cluster`, called `name`.
    ///
    /// # Errors
    /// [`ConformanceError::NoSuite`], or a command on the node failed.
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
    /// The suite could not list them.
    pub fn cases(&self) -> Result<Vec<String>, ConformanceError> {
        let command_line = [
            format!("{}/e2e.test", self.dir),
            "--list-conformance-tests".into(),
        ];
        let listed = self.cluster.running().command(&self.node, command_line)?.run()?;
        Ok(listed.parse(report::names)?)
    }

    /// Runs the selected cases, with the suite's output on standard error.
    ///
    /// # Errors
    /// The suite could not be run, exited early, or no case matches. Failed cases are not an error; the report has them.
    pub fn run(&self, options: &Options) -> Result<Report, ConformanceError> {
        let command_line = arguments(&self.dir, options);
        let reports = format!("REPORTS={REPORTS}");
        let shell = ["env", &reports, "sh", "-euc", RUN, "sh"].map(str::to_owned);
        let status = self
            .cluster
            .running()
            .command(&self.node, shell.into_iter().chain(command_line))?
            .run_attached()?;
        let read = ["cat".to_owned(), format!("{REPORTS}/report.json")];
        let read = self.cluster.running().command(&self.node, read)?.run();
        let report: Report = read
            .map_err(|_| ConformanceError::Ended(status))?
            .parse(Report::parse)?;
        if report.cases.is_empty() {
            return Err(ConformanceError::NoCase);
        }
        Ok(report)
    }

    /// The JUnit report of the last run, as the suite wrote it.
    ///
    /// # Errors
    /// There is no report.
    pub fn junit(&self) -> Result<String, ConformanceError> {
        let read = ["cat".to_owned(), format!("{REPORTS}/junit.xml")];
        Ok(self.cluster.running().command(&self.node, read)?.run()?.stdout)
    }
}

fn arguments(dir: &str, options: &Options) -> Vec<String> {
    let mut command_line = vec![
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
    // A case runs if it matches any `--focus`.
    command_line.extend(options.focus.iter().map(|focus| format!("--focus={focus}")));
    if options.quick {
        command_line.extend(quick().map(|name| format!("--focus={}", regex::escape(name))));
    }
    command_line.extend(options.skip.iter().map(|skip| format!("--skip={skip}")));
    command_line.extend([
        format!("{dir}/e2e.test"),
        "--".into(),
        format!("--kubeconfig={KUBECONFIG}"),
        "--provider=skeleton".into(),
        "--disable-log-dump".into(),
    ]);
    command_line
}

fn quick() -> impl Iterator<Item = &'static str> {
    QUICK.lines().filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Options, arguments, quick};

    #[test]
    fn quick_cases_are_unique_and_escaped() {
        let names: BTreeSet<_> = quick().collect();
        assert_eq!(names.len(), quick().count());
        assert!(names.len() >= 60, "{}", names.len());
        let command_line = arguments(
            "/d",
            &Options {
                quick: true,
                ..Options::default()
            },
        );
        let focused = command_line.iter().filter(|word| word.starts_with("--focus="));
        assert_eq!(focused.count(), names.len());
        assert!(
            !command_line.iter().any(|word| word.contains("--focus=[sig")),
            "{command_line:?}"
        );
    }

    #[test]
    fn test_program_follows_runner_options() {
        let command_line = arguments(
            "/d",
            &Options {
                focus: Some("Pods".into()),
                skip: Some("Serial".into()),
                quick: false,
                parallel: 2,
            },
        );
        let place = |word: &str| command_line.iter().position(|found| found == word).unwrap();
        assert!(place("--focus=Pods") < place("/d/e2e.test"));
        assert!(place("--skip=Serial") < place("/d/e2e.test"));
        assert!(place("/d/e2e.test") < place("--kubeconfig=/etc/kubernetes/admin.conf"));
        assert!(command_line.contains(&"--procs=2".to_owned()));
    }
}
