//! Why a cluster is not ready, in the words of its own components.
//!
//! To be asked when the wait for readiness ended without it, and before everything is removed. By then the nodes may be
//! in any state: every question has a time limit inside its node, and every node has one as a whole, so that a node that
//! hangs costs seconds and the others still have their say.

mod containers;
mod log_excerpt;
mod node;
mod units;

use std::fmt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parbake_cluster::{Description, machine_plan};
use parbake_machine::dirs::Dirs;
use parbake_machine::handle::Running;

use node::Asked;

/// How long all nodes together may take: they are asked side by side.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many findings are shown; what failed first is what matters, and one node's are rarely more than two.
const SHOWN: usize = 8;

/// What the nodes of a cluster that did not become ready had to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    findings: Vec<Finding>,
}

/// One thing that is wrong on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    node: String,
    /// What is wrong, in one line.
    problem: String,
    /// The last lines that the culprit printed, if any.
    words: Vec<String>,
}

impl Diagnosis {
    /// Asks the nodes of `cluster`, whose directory is `dir`. Never fails and takes a few seconds at most: what cannot be
    /// asked is a finding, too.
    pub(crate) fn collect(running: &Running, cluster: &Description, dir: &Path) -> Self {
        let (sender, receiver) = mpsc::channel();
        let mut names = Vec::new();
        for node in cluster.nodes() {
            let console = Dirs(&machine_plan::machine_dir(dir, node)).console();
            let asked = Asked::new(running, cluster.runtime(), node.name.as_str(), console);
            let (index, sender) = (names.len(), sender.clone());
            names.push(node.name.as_str());
            // Not joined: a thread whose node hangs is given up, and its command ends when the node is removed.
            thread::spawn(move || sender.send((index, asked.findings())));
        }
        drop(sender);
        let mut answers: Vec<Option<Vec<Finding>>> = vec![None; names.len()];
        let deadline = Instant::now() + PATIENCE;
        while let Ok((index, findings)) =
            receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            answers[index] = Some(findings);
        }
        let silent = |name: &str| {
            let problem = format!("gave no answer within {} s", PATIENCE.as_secs());
            vec![Finding::new(name, problem, Vec::new())]
        };
        let findings = names
            .into_iter()
            .zip(answers)
            .flat_map(|(name, answer)| answer.unwrap_or_else(|| silent(name)));
        Self {
            findings: findings.collect(),
        }
    }
}

impl Finding {
    fn new(node: &str, problem: String, words: Vec<String>) -> Self {
        Self {
            node: node.to_owned(),
            problem,
            words,
        }
    }
}

/// Lines to be put below what was waited for.
impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return out.write_str(
                "\nno component has failed so far\nnext: allow more time with `--wait`, or give the host less else to do",
            );
        }
        out.write_str("\nwhat failed:")?;
        for finding in self.findings.iter().take(SHOWN) {
            write!(out, "\n  node `{}`: {}", finding.node, finding.problem)?;
            for line in &finding.words {
                write!(out, "\n    | {line}")?;
            }
        }
        if let more @ 1.. = self.findings.len().saturating_sub(SHOWN) {
            write!(out, "\n  and {more} more")?;
        }
        out.write_str(
            "\nnext: mend what failed, most likely in the artifact: provision or pull it again; \
             where the host is only slow, allow more time with `--wait`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnosis, Finding, SHOWN};

    #[test]
    fn words_stand_below_whose_they_are() {
        let finding = |node: &str, words: &[&str]| {
            let words = words.iter().map(ToString::to_string).collect();
            Finding::new(node, "its machine has ended".to_owned(), words)
        };
        let mut diagnosis = Diagnosis {
            findings: vec![finding("node01", &["one", "two"]), finding("node02", &[])],
        };
        assert_eq!(
            diagnosis.to_string(),
            "\nwhat failed:\n  node `node01`: its machine has ended\n    | one\n    | two\n  node `node02`: its machine has \
             ended\nnext: mend what failed, most likely in the artifact: provision or pull it again; where the host is \
             only slow, allow more time with `--wait`"
        );
        diagnosis.findings = vec![finding("node01", &[]); SHOWN + 2];
        assert!(diagnosis.to_string().contains("\n  and 2 more\nnext: "));
    }

    #[test]
    fn that_nothing_failed_is_said_as_well() {
        assert_eq!(
            Diagnosis::default().to_string(),
            "\nno component has failed so far\nnext: allow more time with `--wait`, or give the host less else to do"
        );
    }
}
