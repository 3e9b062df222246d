//! What of a cluster's programs its API knows: which workload runs an image, and whether what was put in the place of a
//! kubelet or of a static pod is at work.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::api_error::{ApiError, explain, is_absent};
use crate::name::NodeName;
use crate::readiness::{Observed, Since, node_reason, observe};
use crate::rollout::{Kind, Workload};
use crate::wait::{Poll, TimedOut, Wait};

const PAUSE: Duration = Duration::from_millis(200);
/// Where kubelets show their static pods.
const SYSTEM: &str = "kube-system";

/// A container of a workload's pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Runs {
    /// The workload.
    pub workload: Workload,
    /// The container's name.
    pub container: String,
    /// Its image.
    pub image: String,
}

/// The last part of an image's name, without tag and digest: `coredns` of `registry.k8s.io/coredns/coredns:v1.12.1`.
pub fn short_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

/// All containers of deployments, daemon sets and stateful sets.
///
/// # Errors
/// The API does not answer.
pub async fn containers(client: &Client) -> Result<Vec<Runs>, ApiError> {
    let all = ListParams::default();
    let deployments: Api<Deployment> = Api::all(client.clone());
    let daemon_sets: Api<DaemonSet> = Api::all(client.clone());
    let stateful_sets: Api<StatefulSet> = Api::all(client.clone());
    let (deployments, daemon_sets, stateful_sets) = tokio::try_join!(
        deployments.list(&all),
        daemon_sets.list(&all),
        stateful_sets.list(&all)
    )
    .map_err(ApiError::new("list workloads"))?;
    let mut found = Vec::new();
    for object in &deployments.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(runs(Kind::Deployment, &object.metadata, template));
    }
    for object in &daemon_sets.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(runs(Kind::DaemonSet, &object.metadata, template));
    }
    for object in &stateful_sets.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(runs(Kind::StatefulSet, &object.metadata, template));
    }
    found.sort();
    Ok(found)
}

fn runs(
    kind: Kind,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    template: Option<&PodTemplateSpec>,
) -> Vec<Runs> {
    let workload = Workload {
        kind,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    let spec = template.and_then(|template| template.spec.as_ref());
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let runs = containers.map(|container| Runs {
        workload: workload.clone(),
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
    });
    runs.collect()
}

/// Has a workload's container run `image`.
///
/// # Errors
/// The API refuses it.
pub async fn set_image(
    client: &Client,
    workload: &Workload,
    container: &str,
    image: &str,
) -> Result<(), ApiError> {
    let (group, kind) = workload.kind.group_and_name();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &workload.namespace, &resource);
    let containers = json!([{ "name": container, "image": image }]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let patched = api
        .patch(&workload.name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await;
    patched.map_err(ApiError::new(format!("change the image of `{workload}`")))?;
    Ok(())
}

/// Waits until the kubelet of `node` that was started at `since` is honestly ready: it has renewed its lease, says that the
/// node is ready, and reports `version` where one is given.
///
/// # Errors
/// [`TimedOut`] with what is missing.
pub async fn wait_until_kubelet(
    client: &Client,
    node: &NodeName,
    since: Timestamp,
    version: Option<&str>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let wait = Wait::new(format!("the kubelet of `{node}` to be ready"), limit).pause(PAUSE);
    wait.until(|| async {
        let observed = match observe(client).await {
            Ok(observed) => observed,
            Err(error) => return Poll::Pending(error.line()),
        };
        let now = Timestamp::now();
        match kubelet_reason(&observed, node, &Since { boot: since, now }, version) {
            Some(reason) => Poll::Pending(reason),
            None => Poll::Seen(()),
        }
    })
    .await
}

fn kubelet_reason(
    observed: &Observed,
    node: &NodeName,
    since: &Since,
    version: Option<&str>,
) -> Option<String> {
    if let Some(reason) = node_reason(observed, node, since) {
        return Some(reason);
    }
    let mut nodes = observed.nodes.iter();
    let found = nodes.find(|found| found.metadata.name.as_deref() == Some(node.as_str()))?;
    let info = found.status.as_ref()?.node_info.as_ref()?;
    let wanted = version?;
    (info.kubelet_version != wanted).then(|| format!("it reports the version {}", info.kubelet_version))
}

/// Waits until the static pod `name` of `node` runs `image` since `since`, and is ready.
///
/// # Errors
/// [`TimedOut`] with what is missing.
pub async fn wait_until_static_pod(
    client: &Client,
    node: &NodeName,
    name: &str,
    image: &str,
    since: Timestamp,
    limit: Duration,
) -> Result<(), TimedOut> {
    let api: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let pod = format!("{name}-{node}");
    let wait = Wait::new(format!("`{pod}` to run"), limit).pause(PAUSE);
    wait.until(|| async {
        match api.get(&pod).await {
            Ok(found) => {
                let now = Timestamp::now();
                match pod_reason(&found, image, &Since { boot: since, now }) {
                    Some(reason) => Poll::Pending(reason),
                    None => Poll::Seen(()),
                }
            }
            Err(error) if is_absent(&error) => Poll::Pending("it does not exist".to_owned()),
            Err(error) => Poll::Pending(explain(&error)),
        }
    })
    .await
}

fn pod_reason(pod: &Pod, image: &str, since: &Since) -> Option<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let named = containers.filter(|container| container.image.as_deref() == Some(image));
    let Some(name) = named.map(|container| &container.name).next() else {
        return Some("it is still the one before".to_owned());
    };
    let status = pod.status.as_ref();
    let mut statuses = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let Some(status) = statuses.find(|status| status.name == *name) else {
        return Some("its container has no status yet".to_owned());
    };
    let state = status.state.as_ref();
    let started = state
        .and_then(|state| state.running.as_ref()?.started_at.as_ref())
        .is_some_and(|time| since.whole_seconds(time.0));
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("unknown");
        return Some(format!("its container is waiting: {reason}"));
    }
    match (started, status.ready) {
        (false, _) => Some("its container has not started since".to_owned()),
        (true, false) => Some("its container runs, not ready".to_owned()),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{kubelet_reason, pod_reason, short_name};
    use crate::name::NodeName;
    use crate::readiness::{Observed, Since};

    const BEFORE: &str = "2026-03-01T09:59:00Z";
    const AFTER: &str = "2026-03-01T10:00:05Z";

    fn since() -> Since {
        Since {
            boot: "2026-03-01T10:00:00Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        }
    }

    #[test]
    fn images_have_short_names() {
        for (image, short) in [
            ("registry.k8s.io/coredns/coredns:v1.12.1", "coredns"),
            ("registry.example:5000/etcd", "etcd"),
            ("example.org/a/b@sha256:00", "b"),
            ("example.org/a/b:1@sha256:00", "b"),
            ("busybox", "busybox"),
        ] {
            assert_eq!(short_name(image), short);
        }
    }

    #[test]
    fn a_kubelet_must_have_reported_since_and_as_what_it_is() {
        let reason = |heartbeat: &str, version: Option<&str>| {
            let observed = Observed {
                nodes: serde_json::from_value(json!([{"metadata": {"name": "node01"}, "status": {
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}],
                    "nodeInfo": {"kubeletVersion": "v1.34.4", "architecture": "", "bootID": "",
                        "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                        "operatingSystem": "", "osImage": "", "systemUUID": ""}}}]))
                .unwrap(),
                leases: serde_json::from_value(
                    json!([{"metadata": {"name": "node01"}, "spec": {"renewTime": AFTER}}]),
                )
                .unwrap(),
                ..Observed::default()
            };
            kubelet_reason(&observed, &NodeName::numbered(1), &since(), version)
        };
        assert_eq!(reason(AFTER, None), None);
        assert_eq!(reason(AFTER, Some("v1.34.4")), None);
        let other = reason(AFTER, Some("v1.34.9")).unwrap();
        assert_eq!(other, "it reports the version v1.34.4");
        assert!(reason(BEFORE, None).unwrap().contains("has not reported"));
    }

    #[test]
    fn a_static_pod_must_have_started_since_with_its_image() {
        let reason = |image: &str, state: Value, ready: bool| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "etcd-node01"},
                "spec": {"containers": [{"name": "etcd", "image": image}]},
                "status": {"containerStatuses": [{"name": "etcd", "image": image, "imageID": "", "restartCount": 0,
                    "ready": ready, "state": state}]},
            }))
            .unwrap();
            pod_reason(&pod, "etcd:2", &since()).unwrap_or_default()
        };
        let running = |time: &str| json!({"running": {"startedAt": time}});
        assert_eq!(reason("etcd:2", running(AFTER), true), "");
        assert_eq!(
            reason("etcd:1", running(AFTER), true),
            "it is still the one before"
        );
        assert_eq!(
            reason("etcd:2", running(BEFORE), true),
            "its container has not started since"
        );
        assert_eq!(
            reason("etcd:2", running(AFTER), false),
            "its container runs, not ready"
        );
        let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(
            reason("etcd:2", crash, false),
            "its container is waiting: CrashLoopBackOff"
        );
    }
}
