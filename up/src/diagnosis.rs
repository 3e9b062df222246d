//! Why a cluster is not ready, according to the logs of its own components.
//!
//! Collected when the wait for readiness timed out, before anything is removed. By then the nodes may be in any state, so
//! every command has a time limit inside its node, and every node has one as a whole: a hanging node costs seconds and does
//! not hide the findings of the others.

mod containers;
mod log_excerpt;
mod node;
mod units;

use std::fmt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parbake_cluster::Description;
use parbake_cluster::model::machine_plan;
use parbake_machine::fs::Dirs;
use parbake_machine::supervisor::Running;

use node::NodeProbe;

/// The time limit for all nodes, which are examined in parallel.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many findings are shown. The first failures matter most, and a node rarely has more than two.
const MAX_SHOWN: usize = 8;

/// The problems found on the nodes of a cluster that did not become ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    findings: Vec<Finding>,
}

/// A problem on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    node: String,
    /// One line.
    problem: String,
    /// The last relevant log lines of the failed component.
    log: Vec<String>,
}

impl Diagnosis {
    /// Examines the nodes of `cluster`, whose directory is `dir`, for [`TIMEOUT`] at most. Never fails: a node that does not
    /// answer is a finding.
    pub(crate) fn collect(running: &Running, cluster: &Description, dir: &Path) -> Self {
        let (sender, receiver) = mpsc::channel();
        let mut names = Vec::new();
        for node in cluster.nodes() {
            let console = Dirs(&machine_plan::machine_dir(dir, node)).console();
            let probe = NodeProbe::new(running, cluster.runtime(), node.name.as_str(), console);
            let (index, sender) = (names.len(), sender.clone());
            names.push(node.name.as_str());
            // Not joined: the command of a hanging node ends when the node is removed.
            thread::spawn(move || sender.send((index, probe.findings())));
        }
        drop(sender);
        let mut answers: Vec<Option<Vec<Finding>>> = vec![None; names.len()];
        let deadline = Instant::now() + TIMEOUT;
        while let Ok((index, findings)) =
            receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            answers[index] = Some(findings);
        }
        let no_answer = |name: &str| {
            let problem = format!("no answer within {} s", TIMEOUT.as_secs());
            vec![Finding::new(name, problem, Vec::new())]
        };
        let findings = names
            .into_iter()
            .zip(answers)
            .flat_map(|(name, answer)| answer.unwrap_or_else(|| no_answer(name)));
        Self {
            findings: findings.collect(),
        }
    }
}

impl Finding {
    fn new(node: &str, problem: String, log: Vec<String>) -> Self {
        Self {
            node: node.to_owned(),
            problem,
            log,
        }
    }
}

/// Lines to append to the message of the timeout.
impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return out.write_str(
                "\nno component has failed so far\nnext: allow more time with `--wait`, or reduce the load on the host",
            );
        }
        out.write_str("\nwhat failed:")?;
        for finding in self.findings.iter().take(MAX_SHOWN) {
            write!(out, "\n  node `{}`: {}", finding.node, finding.problem)?;
            for line in &finding.log {
                write!(out, "\n    | {line}")?;
            }
        }
        if let more @ 1.. = self.findings.len().saturating_sub(MAX_SHOWN) {
            write!(out, "\n  and {more} more")?;
        }
        out.write_str(
            "\nnext: the artifact is most likely broken: provision or pull it again; if the host is only slow, allow more \
             time with `--wait`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnosis, Finding, MAX_SHOWN};

    #[test]
    fn log_lines_follow_their_finding() {
        let finding = |node: &str, log: &[&str]| {
            let log = log.iter().map(ToString::to_string).collect();
            Finding::new(node, "its machine has ended".to_owned(), log)
        };
        let mut diagnosis = Diagnosis {
            findings: vec![finding("node01", &["one", "two"]), finding("node02", &[])],
        };
        assert_eq!(
            diagnosis.to_string(),
            "\nwhat failed:\n  node `node01`: its machine has ended\n    | one\n    | two\n  node `node02`: its machine has \
             ended\nnext: the artifact is most likely broken: provision or pull it again; if the host is only slow, allow \
             more time with `--wait`"
        );
        diagnosis.findings = vec![finding("node01", &[]); MAX_SHOWN + 2];
        assert!(diagnosis.to_string().contains("\n  and 2 more\nnext: "));
    }

    #[test]
    fn no_findings_suggest_a_slow_host() {
        assert_eq!(
            Diagnosis::default().to_string(),
            "\nno component has failed so far\nnext: allow more time with `--wait`, or reduce the load on the host"
        );
    }
}
