//! A report as Markdown: a table by area of Kubernetes, and the failures.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Case, Outcome, Report};

/// Longer messages are cut, in characters: some print a whole pod.
const MAX_MESSAGE: usize = 200;

#[derive(Debug, Clone)]
pub struct RunInfo {
    /// The cluster's version of Kubernetes.
    pub kubernetes: String,
    /// The number of nodes.
    pub nodes: usize,
    /// The number of CPUs available on the host.
    pub processors: usize,
    /// How many cases ran at the same time.
    pub parallel: usize,
    /// The duration of the whole run.
    pub took: Duration,
}

/// The cases of one area.
#[derive(Default)]
struct Area {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// In milliseconds.
    slowest: u64,
}

impl Area {
    fn count(&mut self, case: &Case) {
        match case.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped => self.skipped += 1,
        }
        self.slowest = self.slowest.max(case.milliseconds);
    }
}

impl Report {
    #[must_use]
    pub fn markdown(&self, info: &RunInfo) -> String {
        let mut markdown = format!(
            "Kubernetes {}, {} nodes, {} processors, {} cases at a time: {} passed, {} failed, {} skipped, in {} s.\n\n\
             | area of Kubernetes | cases | passed | failed | skipped | slowest, s |\n|---|---|---|---|---|---|\n",
            info.kubernetes,
            info.nodes,
            info.processors,
            info.parallel,
            self.count(Outcome::Passed),
            self.count(Outcome::Failed),
            self.count(Outcome::Skipped),
            info.took.as_secs(),
        );
        let mut areas: BTreeMap<&str, Area> = BTreeMap::new();
        for case in &self.cases {
            areas.entry(area(&case.name)).or_default().count(case);
        }
        for (name, area) in areas {
            let (tenths, cases) = (area.slowest / 100, area.passed + area.failed + area.skipped);
            // Writing to a string cannot fail.
            let _ = writeln!(
                markdown,
                "| {name} | {cases} | {} | {} | {} | {}.{} |",
                area.passed,
                area.failed,
                area.skipped,
                tenths / 10,
                tenths % 10
            );
        }
        for case in self.failed() {
            let message = case.message.as_deref().unwrap_or_default();
            let line = message.lines().next().unwrap_or_default();
            let line: String = line.chars().take(MAX_MESSAGE).collect();
            let _ = write!(markdown, "\nFailed: `{}`: {line}\n", case.name);
        }
        markdown
    }
}

/// The area of Kubernetes that a case belongs to: the bracketed word at the start of its name.
fn area(name: &str) -> &str {
    name.strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or("others", |(area, _)| area)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Case, Outcome, Report, RunInfo};

    #[test]
    fn cases_are_counted_by_area_and_failures_named() {
        let case = |name: &str, outcome, milliseconds, message: Option<&str>| Case {
            name: name.into(),
            outcome,
            milliseconds,
            message: message.map(str::to_owned),
        };
        let report = Report {
            cases: vec![
                case("[sig-b] x", Outcome::Passed, 1560, None),
                case("[sig-a] y", Outcome::Failed, 20, Some("too slow\nby far")),
                case("[sig-b] z", Outcome::Skipped, 0, None),
                case("Before", Outcome::Passed, 0, None),
            ],
        };
        let info = RunInfo {
            kubernetes: "v1.34.4".into(),
            nodes: 3,
            processors: 2,
            parallel: 4,
            took: Duration::from_millis(61_900),
        };
        assert_eq!(
            report.markdown(&info),
            "Kubernetes v1.34.4, 3 nodes, 2 processors, 4 cases at a time: 2 passed, 1 failed, 1 skipped, in 61 s.\n\n\
             | area of Kubernetes | cases | passed | failed | skipped | slowest, s |\n|---|---|---|---|---|---|\n\
             | others | 1 | 1 | 0 | 0 | 0.0 |\n\
             | sig-a | 1 | 0 | 1 | 0 | 0.0 |\n\
             | sig-b | 2 | 1 | 0 | 1 | 1.5 |\n\
             \nFailed: `[sig-a] y`: too slow\n"
        );
    }
}
