//! Waiting until a replaced kubelet or static pod is running.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::evaluate::node_reason;
use super::freshness::EvidenceWindow;
use super::observe::{ApiSnapshot, observe};
use crate::api::objects::SYSTEM_NAMESPACE;
use crate::api::response::{explain, is_not_found};
use crate::model::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits until the kubelet of `node` that was started at `boot` is ready: it has renewed its lease, reports the node as
/// ready, and, if given, the version `version`.
///
/// # Errors
/// [`TimedOut`] with the reason why it is not ready.
pub async fn wait_until_kubelet(
    client: &Client,
    node: &NodeName,
    boot: Timestamp,
    version: Option<&str>,
    limit: Duration,
) -> Result<(), TimedOut> {
    let wait = Wait::new(format!("the kubelet of `{node}` to be ready"), limit).interval(POLL_INTERVAL);
    wait.until(|| async {
        let snapshot = match observe(client).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Poll::Pending(error.line()),
        };
        let window = EvidenceWindow::until_now(boot);
        match kubelet_reason(&snapshot, node, &window, version) {
            Some(reason) => Poll::Pending(reason),
            None => Poll::Ready(()),
        }
    })
    .await
}

fn kubelet_reason(
    snapshot: &ApiSnapshot,
    node: &NodeName,
    window: &EvidenceWindow,
    version: Option<&str>,
) -> Option<String> {
    if let Some(reason) = node_reason(snapshot, node, window) {
        return Some(reason);
    }
    let info = snapshot.node(node)?.status.as_ref()?.node_info.as_ref()?;
    (info.kubelet_version != version?).then(|| format!("it reports the version {}", info.kubelet_version))
}

/// Waits until the static pod `name` of `node` is ready, with a container of `image` that was started after `boot`.
///
/// # Errors
/// [`TimedOut`] with the reason why it is not ready.
pub async fn wait_until_static_pod(
    client: &Client,
    node: &NodeName,
    name: &str,
    image: &str,
    boot: Timestamp,
    limit: Duration,
) -> Result<(), TimedOut> {
    let api: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let pod = format!("{name}-{node}");
    let wait = Wait::new(format!("`{pod}` to run"), limit).interval(POLL_INTERVAL);
    wait.until(|| async {
        match api.get(&pod).await {
            Ok(found) => match pod_reason(&found, image, &EvidenceWindow::until_now(boot)) {
                Some(reason) => Poll::Pending(reason),
                None => Poll::Ready(()),
            },
            Err(error) if is_not_found(&error) => Poll::Pending("it does not exist".to_owned()),
            Err(error) => Poll::Pending(explain(&error)),
        }
    })
    .await
}

/// Why a static pod does not run `image`.
fn pod_reason(pod: &Pod, image: &str, window: &EvidenceWindow) -> Option<String> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let Some(container) = containers.find(|container| container.image.as_deref() == Some(image)) else {
        return Some("the previous pod is still running".to_owned());
    };
    let status = pod.status.as_ref();
    let mut statuses = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let Some(status) = statuses.find(|status| status.name == container.name) else {
        return Some("its container has no status yet".to_owned());
    };
    let state = status.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("unknown");
        return Some(format!("its container is waiting: {reason}"));
    }
    let has_started = state
        .and_then(|state| state.running.as_ref()?.started_at.as_ref())
        .is_some_and(|time| window.contains_second(time.0));
    match (has_started, status.ready) {
        (false, _) => Some("its container has not been restarted".to_owned()),
        (true, false) => Some("its container is running, but not ready".to_owned()),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{kubelet_reason, pod_reason};
    use crate::model::name::NodeName;
    use crate::readiness::{ApiSnapshot, EvidenceWindow};

    const BEFORE: &str = "2026-03-01T09:59:00Z";
    const AFTER: &str = "2026-03-01T10:00:05Z";

    fn window() -> EvidenceWindow {
        EvidenceWindow {
            boot: "2026-03-01T10:00:00Z".parse().unwrap(),
            now: "2026-03-01T10:00:20Z".parse().unwrap(),
        }
    }

    #[test]
    fn kubelet_is_ready_after_a_report_of_this_boot_and_version() {
        let reason = |heartbeat: &str, version: Option<&str>| {
            let snapshot = ApiSnapshot {
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
                ..ApiSnapshot::default()
            };
            kubelet_reason(&snapshot, &NodeName::numbered(1), &window(), version)
        };
        assert_eq!(reason(AFTER, None), None);
        assert_eq!(reason(AFTER, Some("v1.34.4")), None);
        let other = reason(AFTER, Some("v1.34.9")).unwrap();
        assert_eq!(other, "it reports the version v1.34.4");
        assert!(reason(BEFORE, None).unwrap().contains("has not reported"));
    }

    #[test]
    fn static_pod_is_ready_after_a_start_with_its_image() {
        let reason = |image: &str, state: Value, ready: bool| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "etcd-node01"},
                "spec": {"containers": [{"name": "etcd", "image": image}]},
                "status": {"containerStatuses": [{"name": "etcd", "image": image, "imageID": "", "restartCount": 0,
                    "ready": ready, "state": state}]},
            }))
            .unwrap();
            pod_reason(&pod, "etcd:2", &window()).unwrap_or_default()
        };
        let running = |time: &str| json!({"running": {"startedAt": time}});
        assert_eq!(reason("etcd:2", running(AFTER), true), "");
        assert_eq!(
            reason("etcd:1", running(AFTER), true),
            "the previous pod is still running"
        );
        assert_eq!(
            reason("etcd:2", running(BEFORE), true),
            "its container has not been restarted"
        );
        assert_eq!(
            reason("etcd:2", running(AFTER), false),
            "its container is running, but not ready"
        );
        let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(
            reason("etcd:2", crash, false),
            "its container is waiting: CrashLoopBackOff"
        );
    }
}
