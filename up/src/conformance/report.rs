//! Parses the runner's report (Ginkgo, package `types`, `Report`).

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The cases that ran, in order.
    pub cases: Vec<Case>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The full name.
    pub name: String,
    pub outcome: Outcome,
    /// The duration.
    pub milliseconds: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// It failed, timed out or was interrupted.
    Failed,
    /// It skipped itself because this cluster does not support it.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    #[serde(default)]
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    /// In nanoseconds.
    run_time: u64,
    #[serde(default)]
    num_attempts: u32,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

impl Report {
    /// Parses the runner's JSON.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let suites: Vec<Suite> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let specs = suites
            .into_iter()
            .flat_map(|suite| suite.spec_reports.unwrap_or_default());
        Ok(Self {
            cases: specs.filter_map(Spec::case).collect(),
        })
    }

    /// The number of cases with that outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|case| case.outcome == outcome).count()
    }

    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.outcome == Outcome::Failed)
    }
}

impl Spec {
    /// The case, or `None` if it did not run.
    fn case(self) -> Option<Case> {
        let outcome = match self.state.as_str() {
            "passed" => Outcome::Passed,
            // Excluded by the filters.
            "skipped" | "pending" if self.num_attempts == 0 || self.run_time == 0 => return None,
            "skipped" => Outcome::Skipped,
            _ => Outcome::Failed,
        };
        if self.leaf_node_type != "It" && outcome != Outcome::Failed {
            return None;
        }
        let texts = self.container_hierarchy_texts.unwrap_or_default();
        let name: Vec<String> = texts.into_iter().chain([self.leaf_node_text]).collect();
        Some(Case {
            name: name.join(" ").trim().to_owned(),
            outcome,
            milliseconds: self.run_time / 1_000_000,
            message: self.failure.map(|failure| failure.message),
        })
    }
}

/// Parses the suite's list of cases, YAML in which each has a `codename`. Returns the names, sorted.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Listed {
        codename: String,
    }
    let listed: Vec<Listed> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = listed.into_iter().map(|case| case.codename).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Report, names};

    #[test]
    fn report_has_only_cases_that_ran() {
        let text = r#"[{ "SuitePath": "/e2e", "SpecReports": [
            { "ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "",
              "State": "passed", "RunTime": 5, "NumAttempts": 1 },
            { "ContainerHierarchyTexts": ["[sig-a]", "Pods"], "LeafNodeType": "It", "LeafNodeText": "run [Conformance]",
              "State": "passed", "RunTime": 1500000000, "NumAttempts": 1 },
            { "ContainerHierarchyTexts": ["[sig-a]"], "LeafNodeType": "It", "LeafNodeText": "not wanted",
              "State": "skipped", "RunTime": 0, "NumAttempts": 0 },
            { "ContainerHierarchyTexts": ["[sig-a]"], "LeafNodeType": "It", "LeafNodeText": "not here",
              "State": "skipped", "RunTime": 7, "NumAttempts": 1 },
            { "ContainerHierarchyTexts": ["[sig-b]"], "LeafNodeType": "It", "LeafNodeText": "slow",
              "State": "timedout", "RunTime": 2000000, "NumAttempts": 1, "Failure": { "Message": "too slow" } }
        ] }]"#;
        let report = Report::parse(text).unwrap();
        let found: Vec<_> = report
            .cases
            .iter()
            .map(|case| (case.name.as_str(), case.outcome, case.milliseconds))
            .collect();
        assert_eq!(
            found,
            [
                ("[sig-a] Pods run [Conformance]", Outcome::Passed, 1500),
                ("[sig-a] not here", Outcome::Skipped, 0),
                ("[sig-b] slow", Outcome::Failed, 2)
            ]
        );
        assert_eq!(
            report.failed().next().unwrap().message.as_deref(),
            Some("too slow")
        );
        assert!(Report::parse("[]").unwrap().cases.is_empty());
        assert!(Report::parse("").is_err());
    }

    #[test]
    fn case_names_are_parsed_and_sorted() {
        let text = "- testname: B\n  codename: '[sig-b] x [Conformance]'\n  description: d\n- codename: '[sig-a] y'\n";
        assert_eq!(names(text).unwrap(), ["[sig-a] y", "[sig-b] x [Conformance]"]);
    }
}
