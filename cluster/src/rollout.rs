//! Whether what somebody deployed is there: workloads that are rolled out, by what their controllers say.
//!
//! A controller is believed once it has seen the newest form of its object (`observedGeneration`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use crate::api_error::{explain, is_absent};
use crate::wait::{Poll, TimedOut, Wait};

/// What runs pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of `apps/v1`.
    Deployment,
    /// Of `apps/v1`.
    DaemonSet,
    /// Of `apps/v1`.
    StatefulSet,
    /// Of `batch/v1`.
    Job,
}

/// A workload of a cluster, `KIND/NAMESPACE/NAME` with the kind in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Deployment, Self::DaemonSet, Self::StatefulSet, Self::Job];

    /// The group of its objects, and their kind.
    pub(crate) fn group_and_name(self) -> (&'static str, &'static str) {
        (self.group(), self.name())
    }

    fn group(self) -> &'static str {
        match self {
            Self::Job => "batch",
            _ => "apps",
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
    /// The workload that `object` is, if it is one.
    pub fn of(object: &Value) -> Option<Self> {
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
}

impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.name().to_lowercase();
        write!(out, "{kind}/{}/{}", self.namespace, self.name)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let (kind, namespace, name) = (parts.next(), parts.next(), parts.next());
        let mut kinds = Kind::ALL.into_iter();
        let kind = kinds.find(|known| kind == Some(known.name().to_lowercase().as_str()));
        match (kind, namespace, name, parts.next()) {
            (Some(kind), Some(namespace), Some(name), None) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self {
                    kind,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(format!(
                "`{text}` is no workload; write `KIND/NAMESPACE/NAME`, with `deployment`, `daemonset`, \
                 `statefulset` or `job` first"
            )),
        }
    }
}

/// Waits until all of `workloads` are rolled out.
///
/// # Errors
/// [`TimedOut`] that lists what is missing.
pub async fn wait_until_rolled_out(
    client: &Client,
    workloads: &[Workload],
    limit: Duration,
) -> Result<(), TimedOut> {
    let wait = Wait::new("workloads to be rolled out", limit);
    wait.until(|| async {
        let mut missing = Vec::new();
        for workload in workloads {
            if let Err(why) = look(client, workload).await {
                missing.push(format!("`{workload}`: {why}"));
            }
        }
        match missing.is_empty() {
            true => Poll::Seen(()),
            false => Poll::Pending(missing.join("; ")),
        }
    })
    .await
}

async fn look(client: &Client, workload: &Workload) -> Result<(), String> {
    let kind = GroupVersionKind::gvk(workload.kind.group(), "v1", workload.kind.name());
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &workload.namespace, &resource);
    match api.get(&workload.name).await {
        Ok(object) => {
            let generation = object.metadata.generation.unwrap_or_default();
            rolled_out(workload.kind, generation, &object.data)
        }
        Err(error) if is_absent(&error) => Err("it does not exist".to_owned()),
        Err(error) => Err(explain(&error)),
    }
}

/// Whether a workload whose object has this generation, and these `spec` and `status`, is rolled out; otherwise why not.
fn rolled_out(kind: Kind, generation: i64, object: &Value) -> Result<(), String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    let status = |field: &str| number(&format!("/status/{field}")).unwrap_or_default();
    if kind != Kind::Job && status("observedGeneration") < generation {
        return Err("its controller has not seen it".to_owned());
    }
    let replicas = number("/spec/replicas").unwrap_or(1);
    let (have, want) = match kind {
        Kind::Deployment => {
            let old = status("replicas") > status("updatedReplicas");
            let updated = status("updatedReplicas").min(status("availableReplicas"));
            (if old { 0 } else { updated }, replicas)
        }
        Kind::StatefulSet => (status("updatedReplicas").min(status("readyReplicas")), replicas),
        Kind::DaemonSet => {
            let updated = status("updatedNumberScheduled").min(status("numberAvailable"));
            (updated, status("desiredNumberScheduled"))
        }
        Kind::Job => return completed(object),
    };
    match have < want {
        true => Err(format!("{have} of {want} pods are ready")),
        false => Ok(()),
    }
}

fn completed(object: &Value) -> Result<(), String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    let holds = |condition: &&Value| condition["status"] == "True";
    let found = conditions.find(|condition| {
        holds(condition) && (condition["type"] == "Complete" || condition["type"] == "Failed")
    });
    match found {
        Some(condition) if condition["type"] == "Complete" => Ok(()),
        Some(condition) => Err(format!(
            "it failed: {}",
            condition["message"].as_str().unwrap_or_default()
        )),
        None => Err("it is not complete".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Kind, Workload, rolled_out};

    #[test]
    fn workloads_have_names() {
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
            let error = wrong.parse::<Workload>().unwrap_err();
            assert!(error.contains("is no workload"), "{wrong}");
        }
    }

    #[test]
    fn objects_that_run_pods_are_workloads() {
        let object = |version: &str, kind: &str| {
            Workload::of(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        let found = object("apps/v1", "DaemonSet").unwrap();
        assert_eq!(found.to_string(), "daemonset/default/x");
        assert!(object("batch/v1", "Job").is_some());
        assert!(object("v1", "Service").is_none());
        assert!(object("example.org/v1", "Deployment").is_none());
    }

    #[test]
    fn the_status_must_be_of_the_newest_form_and_all_there() {
        let cases: [(Kind, Value, &str); 11] = [
            (Kind::Deployment, json!({}), "its controller has not seen it"),
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
            (Kind::Job, json!({"status": {"active": 1}}), "it is not complete"),
            (
                Kind::Job,
                json!({"status": {"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]}}),
                "it failed: too often",
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
