//! A report for people: Markdown with a table by part of Kubernetes, and what did not hold.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Case, Outcome, Report};

/// How many characters are kept of what a case said: some print all of a pod.
const SAID: usize = 200;

/// What a run was made with.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// The cluster's version of Kubernetes.
    pub kubernetes: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// How many processors the host gives.
    pub processors: usize,
    /// How many cases ran at the same time.
    pub parallel: usize,
    /// How long the whole run took.
    pub took: Duration,
}

/// The cases of one part.
#[derive(Default)]
struct Part {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// In milliseconds.
    slowest: u64,
}

impl Part {
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
    /// The report as a page in Markdown.
    #[must_use]
    pub fn markdown(&self, info: &RunInfo) -> String {
        let mut markdown = format!(
            "Kubernetes {}, {} nodes, {} processors, {} cases at a time: {} passed, {} failed, {} skipped, in {} s.\n\n\
             | part of Kubernetes | cases | passed | failed | skipped | slowest, s |\n|---|---|---|---|---|---|\n",
            info.kubernetes,
            info.nodes,
            info.processors,
            info.parallel,
            self.count(Outcome::Passed),
            self.count(Outcome::Failed),
            self.count(Outcome::Skipped),
            info.took.as_secs(),
        );
        let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
        for case in &self.cases {
            parts.entry(part(&case.name)).or_default().count(case);
        }
        for (name, part) in parts {
            let (tenths, cases) = (part.slowest / 100, part.passed + part.failed + part.skipped);
            // Writing to a string cannot fail.
            let _ = writeln!(
                markdown,
                "| {name} | {cases} | {} | {} | {} | {}.{} |",
                part.passed,
                part.failed,
                part.skipped,
                tenths / 10,
                tenths % 10
            );
        }
        for case in self.failed() {
            let message = case.message.as_deref().unwrap_or_default();
            let line = message.lines().next().unwrap_or_default();
            let line: String = line.chars().take(SAID).collect();
            let _ = write!(markdown, "\nFailed: `{}`: {line}\n", case.name);
        }
        markdown
    }
}

/// The part of Kubernetes that answers for a case: the first word of its name, in brackets.
fn part(name: &str) -> &str {
    name.strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or("others", |(part, _)| part)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Case, Outcome, Report, RunInfo};

    #[test]
    fn cases_are_counted_by_part_and_failures_named() {
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
             | part of Kubernetes | cases | passed | failed | skipped | slowest, s |\n|---|---|---|---|---|---|\n\
             | others | 1 | 1 | 0 | 0 | 0.0 |\n\
             | sig-a | 1 | 0 | 1 | 0 | 0.0 |\n\
             | sig-b | 2 | 1 | 0 | 1 | 1.5 |\n\
             \nFailed: `[sig-a] y`: too slow\n"
        );
    }
}
