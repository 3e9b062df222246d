//! Examines one node.

use std::fs;
use std::path::PathBuf;

use parbake_cluster::ContainerRuntime;
use parbake_machine::process::{self, Cmd};
use parbake_machine::supervisor::Running;

use super::Finding;
use super::containers::{Containers, Suspect};
use super::log_excerpt::{error_lines, mentioning};
use super::units::{self, KUBELET, PROPERTIES};

/// The time limit of one command.
const COMMAND_TIMEOUT: &str = "3s";
/// How many lines of a log are searched for errors.
const TAIL: &str = "200";
/// The directory of static pod manifests.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// A node to examine.
pub(super) struct NodeProbe {
    node: String,
    runtime_unit: &'static str,
    /// Runs its arguments on the node, with a time limit; `None` if the machine has ended.
    enter: Option<Cmd>,
    /// The file with the output of the machine's init.
    console: PathBuf,
}

/// The state of a node's services.
struct Services {
    findings: Vec<Finding>,
    /// The runtime may answer.
    runtime: bool,
    /// The kubelet has had time to create its pods.
    kubelet: bool,
}

impl NodeProbe {
    pub(super) fn new(running: &Running, runtime: ContainerRuntime, node: &str, console: PathBuf) -> Self {
        let alive = running.machines().get(node).is_some_and(|init| init.is_alive());
        let timeout = ["timeout", "--kill-after=1s", COMMAND_TIMEOUT];
        let enter = running.command(node, timeout).ok().filter(|_| alive);
        Self {
            node: node.to_owned(),
            runtime_unit: runtime.profile().unit,
            enter,
            console,
        }
    }

    /// The problems of the node.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Some(enter) = &self.enter else {
            // A machine that was never started has no console, and is reported in the same way.
            let console = fs::read_to_string(&self.console).unwrap_or_default();
            return vec![self.finding("its machine has ended".to_owned(), error_lines(&console))];
        };
        let node = RunningNode { probe: self, enter };
        let mut services = node.services();
        if services.runtime {
            match node.containers() {
                Ok(containers) => {
                    services.findings.extend(node.failed_containers(&containers));
                    if services.kubelet {
                        services.findings.extend(node.missing_pods(&containers));
                    }
                }
                Err(finding) => services.findings.push(finding),
            }
        }
        services.findings
    }

    fn finding(&self, problem: String, log: Vec<String>) -> Finding {
        Finding::new(&self.node, problem, log)
    }
}

/// A node whose machine runs.
struct RunningNode<'a> {
    probe: &'a NodeProbe,
    enter: &'a Cmd,
}

impl RunningNode<'_> {
    fn run(&self, command: &[&str]) -> Result<process::Output, parbake_machine::Error> {
        self.enter.clone().args(command).run()
    }

    fn crictl(&self, args: &[&str]) -> Result<process::Output, parbake_machine::Error> {
        self.run(&[&["crictl", "--timeout=2s"], args].concat())
    }

    /// The log of a service, without the messages of the service manager.
    fn journal(&self, unit: &str) -> String {
        let filter = format!("_SYSTEMD_UNIT={unit}");
        let lines = format!("--lines={TAIL}");
        let journalctl = [
            "journalctl",
            "--boot",
            "--output=cat",
            "--no-pager",
            &lines,
            &filter,
        ];
        self.run(&journalctl)
            .map(|output| output.stdout)
            .unwrap_or_default()
    }

    fn services(&self) -> Services {
        let runtime_unit = self.probe.runtime_unit;
        let failed = match self.run(&["systemctl", "show", PROPERTIES, runtime_unit, KUBELET]) {
            Ok(output) => units::failed(&output.stdout),
            Err(error) => {
                let problem = format!("its service manager does not answer: {}", last_line(&error));
                return Services {
                    findings: vec![self.probe.finding(problem, Vec::new())],
                    runtime: true,
                    kubelet: false,
                };
            }
        };
        Services {
            runtime: failed.iter().all(|failed| failed.unit != runtime_unit),
            kubelet: failed.is_empty(),
            findings: failed
                .into_iter()
                .map(|failed| {
                    let log = match failed.is_waiting {
                        true => self.running_jobs(),
                        false => self.journal(&failed.unit),
                    };
                    self.probe.finding(failed.problem, error_lines(&log))
                })
                .collect(),
        }
    }

    /// The unfinished jobs of the service manager.
    fn running_jobs(&self) -> String {
        let jobs = self.run(&["systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"]);
        let jobs = jobs.map(|output| output.stdout).unwrap_or_default();
        mentioning(&jobs, " running")
    }

    fn containers(&self) -> Result<Containers, Finding> {
        let answer = self.crictl(&["ps", "--all", "--output=json"]);
        let containers = answer.and_then(|output| output.parse(Containers::parse));
        containers.map_err(|error| {
            let problem = format!("its container runtime does not answer: {}", last_line(&error));
            self.probe.finding(problem, Vec::new())
        })
    }

    fn failed_containers(&self, containers: &Containers) -> Vec<Finding> {
        let finding = |suspect: &Suspect| {
            let inspected = self.crictl(&["inspect", "--output=json", &suspect.id]);
            let inspected = inspected.map(|output| output.stdout).unwrap_or_default();
            let problem = suspect.problem(&inspected)?;
            let logs = self.crictl(&["logs", "--tail", TAIL, &suspect.id]);
            // crictl keeps the container's standard output and error apart.
            let logs = logs.map(|output| output.stdout + &output.stderr);
            Some(
                self.probe
                    .finding(problem, error_lines(&logs.unwrap_or_default())),
            )
        };
        containers.suspects().iter().filter_map(finding).collect()
    }

    /// Static pods without containers. The kubelet's log says why.
    fn missing_pods(&self, containers: &Containers) -> Vec<Finding> {
        let Ok(list) = self.run(&["ls", MANIFESTS]) else {
            return Vec::new();
        };
        let missing: Vec<&str> = list
            .stdout
            .lines()
            .filter_map(|file| file.strip_suffix(".yaml"))
            .filter(|pod| !containers.has_pod(&format!("{pod}-{}", self.probe.node)))
            .collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let journal = self.journal(KUBELET);
        let finding = |pod: &str| {
            let problem = format!("no container was created for `{MANIFESTS}/{pod}.yaml`");
            self.probe
                .finding(problem, error_lines(&mentioning(&journal, pod)))
        };
        missing.into_iter().map(finding).collect()
    }
}

/// The last line that a failed command printed.
fn last_line(error: &parbake_machine::Error) -> String {
    let text = match error {
        parbake_machine::Error::Failed { tail, status, .. } if tail.is_empty() => status.to_string(),
        parbake_machine::Error::Failed { tail, .. } => tail.clone(),
        other => other.to_string(),
    };
    error_lines(&text).pop().unwrap_or_default()
}
