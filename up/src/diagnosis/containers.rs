//! Finds failed containers in the output of `crictl`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The output of `crictl ps --all --output=json` (CRI: `ListContainersResponse`).
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
    /// Nanoseconds since the Unix epoch, as text.
    #[serde(rename = "createdAt")]
    created: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    /// The number of earlier attempts.
    #[serde(default)]
    attempt: u32,
}

/// The output of `crictl inspect --output=json` for one container (CRI: `ContainerStatusResponse`).
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

/// Identifies a container of a pod across its attempts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

/// A container that does not run, or was restarted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) name: Name,
    /// The attempt to inspect: the newest that has exited, otherwise the newest of all.
    pub(super) id: String,
    /// The number of the newest attempt, counted from 0 since the bake.
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

/// All containers of a node by name, the newest attempt first.
#[derive(Debug)]
pub(super) struct Containers(BTreeMap<Name, Vec<Listed>>);

impl Containers {
    /// Parses the output of `crictl ps --all --output=json`.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
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

    pub(super) fn has_pod(&self, pod: &str) -> bool {
        self.0.keys().any(|name| name.pod == pod)
    }

    /// The containers that do not run, or were restarted.
    pub(super) fn suspects(&self) -> Vec<Suspect> {
        let suspect = |(name, attempts): (&Name, &Vec<Listed>)| {
            let newest = attempts.first()?;
            let state = State::of(&newest.state);
            let ended = attempts
                .iter()
                .find(|listed| State::of(&listed.state) == State::Exited);
            // The attempt number alone says nothing, since it includes those of the bake.
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
    /// Describes the problem, given the output of `crictl inspect --output=json`. `None` if the container completed.
    pub(super) fn problem(&self, inspected: &str) -> Option<String> {
        let status = serde_json::from_str(inspected).map(|inspected: Inspected| inspected.status);
        let Ok(status) = status else {
            return Some(self.text("ended in an unknown way"));
        };
        match (self.state, status.exit_code, self.attempt) {
            (State::Exited, 0, 0) => None,
            (State::Created, ..) => Some(self.text("was created but not started")),
            (State::Unknown, ..) => Some(self.text("is in an unknown state")),
            (State::Exited | State::Running, code, _) => {
                let mut text = format!("ended with exit code {code}");
                // If it could not be started, the runtime's message is the only hint.
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
            text += ", running again";
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

    fn parse(containers: &[Value]) -> Containers {
        Containers::parse(&json!({"containers": containers}).to_string()).unwrap()
    }

    /// The problem of a container with these attempts, newest first.
    fn problem(attempts: &[(u32, &str)], inspected: &Value) -> Option<String> {
        let all: Vec<Value> = attempts
            .iter()
            .map(|(attempt, state)| container(&format!("id{attempt}"), "p", *attempt, state))
            .collect();
        let suspects = parse(&all).suspects();
        suspects.first()?.problem(&inspected.to_string())
    }

    #[test]
    fn only_failed_containers_are_problems() {
        let status = |code: i32, reason: &str| json!({"status": {"exitCode": code, "reason": reason}});
        let (running, exited) = ("CONTAINER_RUNNING", "CONTAINER_EXITED");
        assert_eq!(problem(&[(0, running)], &status(0, "")), None);
        assert_eq!(problem(&[(7, running)], &status(0, "")), None);
        assert_eq!(problem(&[(0, exited)], &status(0, "Completed")), None);
        let message = |attempts: &[(u32, &str)], status: Value| problem(attempts, &status).unwrap();
        assert_eq!(
            message(&[(0, exited)], status(1, "Error")),
            "container `c` of pod `n/p` ended with exit code 1"
        );
        assert_eq!(
            message(&[(3, exited), (2, exited)], status(137, "OOMKilled")),
            "container `c` of pod `n/p` ended with exit code 137, OOMKilled, attempt 3"
        );
        assert_eq!(
            message(&[(1, running), (0, exited)], status(0, "Completed")),
            "container `c` of pod `n/p` ended with exit code 0, attempt 1, running again"
        );
        let start =
            json!({"status": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file\n"}});
        assert_eq!(
            message(&[(0, exited)], start),
            "container `c` of pod `n/p` ended with exit code 128, StartError, exec: no such file"
        );
        assert_eq!(
            message(&[(0, "CONTAINER_CREATED")], status(0, "")),
            "container `c` of pod `n/p` was created but not started"
        );
        assert_eq!(
            message(&[(0, exited)], json!("?")),
            "container `c` of pod `n/p` ended in an unknown way"
        );
    }

    #[test]
    fn newest_exited_attempt_is_inspected() {
        let all = [
            container("old", "p", 0, "CONTAINER_EXITED"),
            container("new", "p", 2, "CONTAINER_RUNNING"),
            container("ended", "p", 1, "CONTAINER_EXITED"),
            container("well", "q", 0, "CONTAINER_RUNNING"),
        ];
        let containers = parse(&all);
        let ids: Vec<String> = containers.suspects().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["ended"]);
        assert!(containers.has_pod("q") && !containers.has_pod("r"));
    }

    #[test]
    fn node_without_containers_has_no_suspects() {
        assert!(Containers::parse("{}").unwrap().suspects().is_empty());
        assert!(Containers::parse("timed out").is_err());
    }
}
