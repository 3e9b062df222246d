//! Asking one node.

use std::fs;
use std::path::PathBuf;

use parbake_cluster::ContainerRuntime;
use parbake_machine::handle::Running;
use parbake_machine::process::{self, Cmd};

use super::Finding;
use super::containers::{Containers, Suspect};
use super::log_excerpt::{last_words, mentioning};
use super::units::{self, KUBELET, PROPERTIES};

/// How long the answer to one question may take.
const LIMIT: &str = "3s";
/// How many lines of a log are searched for words that tell something.
const TAIL: &str = "200";
/// Where the manifests of a node's static pods are.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// A node that is to be asked.
pub(super) struct Asked {
    node: String,
    /// The unit of its runtime.
    runtime: &'static str,
    /// What to put before a command; nothing where the machine has ended.
    door: Option<Cmd>,
    /// The file with what the machine's init printed.
    console: PathBuf,
}

/// What a node's services come to.
struct Services {
    findings: Vec<Finding>,
    /// Whether the runtime is worth asking.
    runtime: bool,
    /// Whether the kubelet ought to have made its pods.
    kubelet: bool,
}

impl Asked {
    pub(super) fn new(running: &Running, runtime: ContainerRuntime, node: &str, console: PathBuf) -> Self {
        let alive = running.machines().get(node).is_some_and(|init| init.is_alive());
        let words = ["timeout", "--kill-after=1s", LIMIT];
        let door = running.command(node, words).ok().filter(|_| alive);
        Self {
            node: node.to_owned(),
            runtime: runtime.answers().unit,
            door,
            console,
        }
    }

    /// What is wrong on the node; nothing where all goes as it should.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Some(door) = &self.door else {
            // Also what it says of a machine that was never there.
            let console = fs::read_to_string(&self.console).unwrap_or_default();
            return vec![self.finding("its machine has ended".to_owned(), last_words(&console))];
        };
        let node = Node { name: self, door };
        let mut services = node.services();
        if services.runtime {
            match node.containers() {
                Ok(containers) => {
                    services.findings.extend(node.judge_containers(&containers));
                    if services.kubelet {
                        services.findings.extend(node.missing_pods(&containers));
                    }
                }
                Err(finding) => services.findings.push(finding),
            }
        }
        services.findings
    }

    fn finding(&self, problem: String, words: Vec<String>) -> Finding {
        Finding::new(&self.node, problem, words)
    }
}

/// A node whose machine runs.
struct Node<'a> {
    name: &'a Asked,
    door: &'a Cmd,
}

impl Node<'_> {
    fn ask(&self, words: &[&str]) -> Result<process::Output, process::Error> {
        self.door.clone().args(words).run()
    }

    fn crictl(&self, words: &[&str]) -> Result<process::Output, process::Error> {
        self.ask(&[&["crictl", "--timeout=2s"], words].concat())
    }

    /// The log of a service, without what the service manager says about it.
    fn journal(&self, unit: &str) -> String {
        let of_unit = format!("_SYSTEMD_UNIT={unit}");
        let lines = format!("--lines={TAIL}");
        let words = [
            "journalctl",
            "--boot",
            "--output=cat",
            "--no-pager",
            &lines,
            &of_unit,
        ];
        self.ask(&words).map(|output| output.stdout).unwrap_or_default()
    }

    fn services(&self) -> Services {
        let shown = self.ask(&["systemctl", "show", PROPERTIES, self.name.runtime, KUBELET]);
        let failed = match shown {
            Ok(output) => units::failed(&output.stdout),
            Err(error) => {
                let problem = format!("its service manager does not answer: {}", last_line(&error));
                return Services {
                    findings: vec![self.name.finding(problem, Vec::new())],
                    runtime: true,
                    kubelet: false,
                };
            }
        };
        let well = |unit: &str| failed.iter().all(|failed| failed.unit != unit);
        Services {
            runtime: well(self.name.runtime),
            kubelet: failed.is_empty(),
            findings: failed
                .into_iter()
                .map(|failed| {
                    let log = match failed.waits {
                        true => self.jobs(),
                        false => self.journal(&failed.unit),
                    };
                    self.name.finding(failed.problem, last_words(&log))
                })
                .collect(),
        }
    }

    /// What the service manager is about to do, and what of it is not over.
    fn jobs(&self) -> String {
        let jobs = self.ask(&["systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"]);
        let jobs = jobs.map(|output| output.stdout).unwrap_or_default();
        mentioning(&jobs, " running")
    }

    fn containers(&self) -> Result<Containers, Finding> {
        let answer = self.crictl(&["ps", "--all", "--output=json"]);
        let containers = answer.and_then(|output| output.parse(Containers::read));
        containers.map_err(|error| {
            let problem = format!("its container runtime does not answer: {}", last_line(&error));
            self.name.finding(problem, Vec::new())
        })
    }

    fn judge_containers(&self, containers: &Containers) -> Vec<Finding> {
        let finding = |suspect: &Suspect| {
            let inspected = self.crictl(&["inspect", "--output=json", &suspect.id]);
            let inspected = inspected.map(|output| output.stdout).unwrap_or_default();
            let problem = suspect.problem(&inspected)?;
            let logs = self.crictl(&["logs", "--tail", TAIL, &suspect.id]);
            // What a container printed to one and the other comes as it was printed.
            let logs = logs.map(|output| output.stdout + &output.stderr);
            Some(self.name.finding(problem, last_words(&logs.unwrap_or_default())))
        };
        containers.suspects().iter().filter_map(finding).collect()
    }

    /// Static pods that the kubelet made nothing of. Its log says why.
    fn missing_pods(&self, containers: &Containers) -> Vec<Finding> {
        let Ok(list) = self.ask(&["ls", MANIFESTS]) else {
            return Vec::new();
        };
        let missing: Vec<&str> = list
            .stdout
            .lines()
            .filter_map(|file| file.strip_suffix(".yaml"))
            .filter(|pod| !containers.has_pod(&format!("{pod}-{}", self.name.node)))
            .collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let journal = self.journal(KUBELET);
        let finding = |pod: &str| {
            let problem = format!("no container was made for `{MANIFESTS}/{pod}.yaml`");
            self.name.finding(problem, last_words(&mentioning(&journal, pod)))
        };
        missing.into_iter().map(finding).collect()
    }
}

/// The last thing that a command said before it failed.
fn last_line(error: &process::Error) -> String {
    let text = match error {
        process::Error::Failed { tail, status, .. } if tail.is_empty() => status.to_string(),
        process::Error::Failed { tail, .. } => tail.clone(),
        other => other.to_string(),
    };
    last_words(&text).pop().unwrap_or_default()
}
