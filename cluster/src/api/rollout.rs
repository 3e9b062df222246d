//! Waiting for the rollout of workloads, by the status that their controllers report.
//!
//! A status counts only if the controller has processed the current generation of the object (`observedGeneration`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use super::response::{explain, is_not_found};
use crate::model::invalid_value::InvalidValue;
use crate::wait::{Poll, TimedOut, Wait};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Deployment,
    DaemonSet,
    StatefulSet,
    Job,
}

/// A workload, written as `KIND/NAMESPACE/NAME` with the kind in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Deployment, Self::DaemonSet, Self::StatefulSet, Self::Job];

    fn group(self) -> &'static str {
        match self {
            Self::Job => "batch",
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => "apps",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::Job => "Job",
        }
    }
}

impl Workload {
    /// The workload of a manifest; `None` if it is of another kind.
    pub fn from_object(object: &Value) -> Option<Self> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let (group, _) = text("/apiVersion")?.split_once('/')?;
        let mut kinds = Kind::ALL.into_iter();
        let kind = kinds.find(|kind| Some(kind.name()) == text("/kind") && kind.group() == group)?;
        Some(Self {
            kind,
            namespace: text("/metadata/namespace").unwrap_or("default").to_owned(),
            name: text("/metadata/name")?.to_owned(),
        })
    }

    /// An API for objects of its kind in its namespace.
    pub(crate) fn api(&self, client: &Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(self.kind.group(), "v1", self.kind.name());
        Api::namespaced_with(client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.name().to_lowercase();
        write!(out, "{kind}/{}/{}", self.namespace, self.name)
    }
}

impl FromStr for Workload {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let kind_of = |text: &str| {
            let mut kinds = Kind::ALL.into_iter();
            kinds.find(|kind| kind.name().to_lowercase() == text)
        };
        let parts: Vec<&str> = text.split('/').collect();
        if let [kind, namespace, name] = parts[..]
            && let Some(kind) = kind_of(kind)
            && !namespace.is_empty()
            && !name.is_empty()
        {
            return Ok(Self {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
        Err(InvalidValue::new(
            text,
            "a workload; write `KIND/NAMESPACE/NAME`, where the kind is `deployment`, `daemonset`, `statefulset` or `job`",
        ))
    }
}

/// Waits until all of `workloads` are rolled out.
///
/// # Errors
/// [`TimedOut`] with the workloads that are not.
pub async fn wait_until_rolled_out(
    client: &Client,
    workloads: &[Workload],
    limit: Duration,
) -> Result<(), TimedOut> {
    let wait = Wait::new("workloads to be rolled out", limit);
    wait.until(|| async {
        let mut incomplete = Vec::new();
        for workload in workloads {
            if let Err(reason) = check(client, workload).await {
                incomplete.push(format!("`{workload}`: {reason}"));
            }
        }
        match incomplete.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending(incomplete.join("; ")),
        }
    })
    .await
}

async fn check(client: &Client, workload: &Workload) -> Result<(), String> {
    match workload.api(client).get(&workload.name).await {
        Ok(object) => {
            let generation = object.metadata.generation.unwrap_or_default();
            rolled_out(workload.kind, generation, &object.data)
        }
        Err(error) if is_not_found(&error) => Err("does not exist".to_owned()),
        Err(error) => Err(explain(&error)),
    }
}

/// Checks an object's `spec` and `status`. The error says what is incomplete.
fn rolled_out(kind: Kind, generation: i64, object: &Value) -> Result<(), String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    let status = |field: &str| number(&format!("/status/{field}")).unwrap_or_default();
    if kind != Kind::Job && status("observedGeneration") < generation {
        return Err("the controller has not processed it".to_owned());
    }
    let replicas = number("/spec/replicas").unwrap_or(1);
    let (ready, wanted) = match kind {
        Kind::Deployment => {
            let has_old_pods = status("replicas") > status("updatedReplicas");
            let updated = status("updatedReplicas").min(status("availableReplicas"));
            (if has_old_pods { 0 } else { updated }, replicas)
        }
        Kind::StatefulSet => (status("updatedReplicas").min(status("readyReplicas")), replicas),
        Kind::DaemonSet => {
            let updated = status("updatedNumberScheduled").min(status("numberAvailable"));
            (updated, status("desiredNumberScheduled"))
        }
        Kind::Job => return completed(object),
    };
    match ready < wanted {
        true => Err(format!("{ready} of {wanted} pods are ready")),
        false => Ok(()),
    }
}

fn completed(object: &Value) -> Result<(), String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let holds = |condition: &&Value, kind: &str| condition["type"] == kind && condition["status"] == "True";
    let find = |kind: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|condition| holds(condition, kind))
    };
    if let Some(condition) = find("Failed") {
        let message = condition["message"].as_str().unwrap_or_default();
        return Err(format!("failed: {message}"));
    }
    match find("Complete") {
        Some(_) => Ok(()),
        None => Err("not complete".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Kind, Workload, rolled_out};

    #[test]
    fn workload_names_survive_a_round_trip() {
        let text = "deployment/kube-system/coredns";
        let workload: Workload = text.parse().unwrap();
        assert_eq!(workload.to_string(), text);
        for wrong in [
            "deployment/coredns",
            "service/a/b",
            "Deployment/a/b",
            "job/a/b/c",
            "job//b",
            "",
        ] {
            let error = wrong.parse::<Workload>().unwrap_err().to_string();
            assert!(error.contains("is not a workload"), "{wrong}");
        }
    }

    #[test]
    fn only_objects_that_run_pods_are_workloads() {
        let object = |version: &str, kind: &str| {
            Workload::from_object(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        let found = object("apps/v1", "DaemonSet").unwrap();
        assert_eq!(found.to_string(), "daemonset/default/x");
        assert!(object("batch/v1", "Job").is_some());
        assert!(object("v1", "Service").is_none());
        assert!(object("example.org/v1", "Deployment").is_none());
    }

    #[test]
    fn rollout_is_complete_only_for_the_current_generation() {
        let cases: [(Kind, Value, &str); 11] = [
            (Kind::Deployment, json!({}), "the controller has not processed it"),
            (
                Kind::Deployment,
                json!({"status": {"observedGeneration": 2}}),
                "0 of 1 pods are ready",
            ),
            (
                Kind::Deployment,
                json!({"spec": {"replicas": 2}, "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
                    "availableReplicas": 1}}),
                "1 of 2 pods are ready",
            ),
            (
                Kind::Deployment,
                json!({"status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}}),
                "0 of 1 pods are ready",
            ),
            (
                Kind::Deployment,
                json!({"status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}}),
                "",
            ),
            (
                Kind::Deployment,
                json!({"spec": {"replicas": 0}, "status": {"observedGeneration": 2}}),
                "",
            ),
            (
                Kind::StatefulSet,
                json!({"status": {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 0}}),
                "0 of 1 pods are ready",
            ),
            (
                Kind::DaemonSet,
                json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3,
                    "numberAvailable": 2}}),
                "2 of 3 pods are ready",
            ),
            (Kind::Job, json!({"status": {"active": 1}}), "not complete"),
            (
                Kind::Job,
                json!({"status": {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]}}),
                "failed: too often",
            ),
            (
                Kind::Job,
                json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
                "",
            ),
        ];
        for (kind, object, expected) in cases {
            let found = rolled_out(kind, 2, &object).err().unwrap_or_default();
            assert_eq!(found, expected, "{object}");
        }
    }
}
