//! The node's containers: what its runtime remembers of them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The answer of `crictl ps --all --output=json` (CRI: `ListContainersResponse`).
#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    containers: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    metadata: Metadata,
    state: String,
    /// Nanoseconds since 1970, as text.
    #[serde(rename = "createdAt")]
    created: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    /// How often the container was made before.
    #[serde(default)]
    attempt: u32,
}

/// The answer of `crictl inspect --output=json` for one container (CRI: `ContainerStatusResponse`).
#[derive(Debug, Deserialize)]
struct Inspected {
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// A container as a pod has it, whichever attempt it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

/// A container that does not run, or had to be started again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) name: Name,
    /// The attempt that is looked at: the newest that has ended, or else the newest of all.
    pub(super) id: String,
    /// The number of the newest attempt: they are counted from 0, in the bake already.
    attempt: u32,
    /// The state of the newest attempt.
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

impl State {
    fn of(text: &str) -> Self {
        match text {
            "CONTAINER_CREATED" => Self::Created,
            "CONTAINER_RUNNING" => Self::Running,
            "CONTAINER_EXITED" => Self::Exited,
            _ => Self::Unknown,
        }
    }
}

/// All containers of a node, those of one name together, newest first.
#[derive(Debug)]
pub(super) struct Containers(BTreeMap<Name, Vec<Listed>>);

impl Containers {
    /// Reads the answer of `crictl ps --all --output=json`.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let list: List = serde_json::from_str(text)?;
        let mut all: BTreeMap<Name, Vec<Listed>> = BTreeMap::new();
        for listed in list.containers {
            let label = |name: &str| {
                let label = listed.labels.get(&format!("io.kubernetes.{name}"));
                label.cloned().unwrap_or_default()
            };
            let name = Name {
                namespace: label("pod.namespace"),
                pod: label("pod.name"),
                container: label("container.name"),
            };
            all.entry(name).or_default().push(listed);
        }
        for attempts in all.values_mut() {
            let age = |listed: &Listed| listed.created.parse::<u64>().unwrap_or_default();
            attempts.sort_by_key(|listed| std::cmp::Reverse(age(listed)));
        }
        Ok(Self(all))
    }

    /// Whether the pod has any container.
    pub(super) fn has_pod(&self, pod: &str) -> bool {
        self.0.keys().any(|name| name.pod == pod)
    }

    /// Those that do not run, or had to be started again.
    pub(super) fn suspects(&self) -> Vec<Suspect> {
        let suspect = |(name, attempts): (&Name, &Vec<Listed>)| {
            let newest = attempts.first()?;
            let state = State::of(&newest.state);
            let ended = attempts
                .iter()
                .find(|listed| State::of(&listed.state) == State::Exited);
            // The number of its attempt alone says nothing: it goes on from that of the bake.
            (state != State::Running || ended.is_some()).then(|| Suspect {
                name: name.clone(),
                id: ended.unwrap_or(newest).id.clone(),
                attempt: newest.metadata.attempt,
                state,
            })
        };
        self.0.iter().filter_map(suspect).collect()
    }
}

impl Suspect {
    /// What is wrong with it, by the answer of `crictl inspect --output=json`; nothing where it did what it was to do and
    /// ended.
    pub(super) fn problem(&self, inspected: &str) -> Option<String> {
        let status = serde_json::from_str(inspected).map(|inspected: Inspected| inspected.status);
        let Ok(status) = status else {
            return Some(self.text("ended, nobody knows how"));
        };
        match (self.state, status.exit_code, self.attempt) {
            (State::Exited, 0, 0) => None,
            (State::Created, ..) => Some(self.text("was made but not started")),
            (State::Unknown, ..) => Some(self.text("is in an unknown state")),
            (State::Exited | State::Running, code, _) => {
                let mut text = format!("ended with exit code {code}");
                // Where it could not even be started, the runtime's message is all there is.
                for why in [&status.reason, &status.message] {
                    if !matches!(why.as_str(), "" | "Error" | "Completed") {
                        text += &format!(", {}", why.trim());
                    }
                }
                Some(self.text(&text))
            }
        }
    }

    fn text(&self, problem: &str) -> String {
        let Name {
            namespace,
            pod,
            container,
        } = &self.name;
        let mut text = format!("container `{container}` of pod `{namespace}/{pod}` {problem}");
        if self.attempt > 0 {
            text += &format!(", attempt {}", self.attempt);
        }
        if self.state == State::Running {
            text += ", runs again";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Containers;

    fn container(id: &str, pod: &str, attempt: u32, state: &str) -> Value {
        json!({
            "id": id, "metadata": {"name": "c", "attempt": attempt}, "state": state,
            "createdAt": format!("{}", 1_795_251_762_394_238_401_u64 + u64::from(attempt)),
            "labels": {"io.kubernetes.container.name": "c", "io.kubernetes.pod.name": pod,
                "io.kubernetes.pod.namespace": "n"},
        })
    }

    fn read(containers: &[Value]) -> Containers {
        Containers::read(&json!({"containers": containers}).to_string()).unwrap()
    }

    /// What is said of a container with these attempts, newest first.
    fn problem(attempts: &[(u32, &str)], inspected: &Value) -> Option<String> {
        let all: Vec<Value> = attempts
            .iter()
            .map(|(attempt, state)| container(&format!("id{attempt}"), "p", *attempt, state))
            .collect();
        let suspects = read(&all).suspects();
        suspects.first()?.problem(&inspected.to_string())
    }

    #[test]
    fn a_container_that_ended_as_it_should_is_no_problem() {
        let status = |code: i32, reason: &str| json!({"status": {"exitCode": code, "reason": reason}});
        let (running, exited) = ("CONTAINER_RUNNING", "CONTAINER_EXITED");
        assert_eq!(problem(&[(0, running)], &status(0, "")), None);
        assert_eq!(problem(&[(7, running)], &status(0, "")), None);
        assert_eq!(problem(&[(0, exited)], &status(0, "Completed")), None);
        let said = |attempts: &[(u32, &str)], status: Value| problem(attempts, &status).unwrap();
        assert_eq!(
            said(&[(0, exited)], status(1, "Error")),
            "container `c` of pod `n/p` ended with exit code 1"
        );
        assert_eq!(
            said(&[(3, exited), (2, exited)], status(137, "OOMKilled")),
            "container `c` of pod `n/p` ended with exit code 137, OOMKilled, attempt 3"
        );
        assert_eq!(
            said(&[(1, running), (0, exited)], status(0, "Completed")),
            "container `c` of pod `n/p` ended with exit code 0, attempt 1, runs again"
        );
        let start =
            json!({"status": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file\n"}});
        assert_eq!(
            said(&[(0, exited)], start),
            "container `c` of pod `n/p` ended with exit code 128, StartError, exec: no such file"
        );
        assert_eq!(
            said(&[(0, "CONTAINER_CREATED")], status(0, "")),
            "container `c` of pod `n/p` was made but not started"
        );
        assert_eq!(
            said(&[(0, exited)], json!("?")),
            "container `c` of pod `n/p` ended, nobody knows how"
        );
    }

    #[test]
    fn the_newest_attempt_that_ended_is_looked_at() {
        let all = [
            container("old", "p", 0, "CONTAINER_EXITED"),
            container("new", "p", 2, "CONTAINER_RUNNING"),
            container("ended", "p", 1, "CONTAINER_EXITED"),
            container("well", "q", 0, "CONTAINER_RUNNING"),
        ];
        let containers = read(&all);
        let ids: Vec<String> = containers.suspects().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["ended"]);
        assert!(containers.has_pod("q") && !containers.has_pod("r"));
    }

    #[test]
    fn a_node_without_containers_has_no_suspects() {
        assert!(Containers::read("{}").unwrap().suspects().is_empty());
        assert!(Containers::read("timed out").is_err());
    }
}
