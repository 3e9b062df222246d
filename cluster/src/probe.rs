//! A pod on every node from which the benchmark queries the cluster's DNS.
//!
//! It is a static pod (Kubernetes documentation, 'Create static Pods') of the runtime's sandbox image, which every node has,
//! so nothing needs to schedule it or pull an image. Its network is set up like that of any pod.

use std::time::{Duration, Instant};

use parbake_machine::plan::SeedFile;
use serde_json::json;

use crate::model::description::Description;
use crate::readiness::{DnsProbe, wait_until_dns};
use crate::wait::TimedOut;

/// The manifest's path below a node's root.
pub const MANIFEST: &str = "etc/kubernetes/manifests/parbake-probe.yaml";

/// The pod's manifest. `image` is [`crate::model::runtime_config::sandbox_image`].
pub fn manifest(image: &str) -> String {
    // JSON is YAML.
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "parbake-probe", "namespace": "kube-system" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "probe", "image": image, "imagePullPolicy": "Never" }],
        },
    })
    .to_string()
}

/// The manifest as a file to seed before a node boots.
pub fn file(image: &str) -> SeedFile {
    SeedFile::public(MANIFEST, manifest(image))
}

/// The time from `started` until the cluster's DNS has answered in a pod on each node ([`DnsProbe::for_pods`]), through its
/// service address.
///
/// # Errors
/// [`TimedOut`] with the nodes that got no answer.
pub async fn dns_answers(
    cluster: &Description,
    pods: Vec<DnsProbe>,
    started: Instant,
    limit: Duration,
) -> Result<Duration, TimedOut> {
    wait_until_dns(cluster, pods, limit).await?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::manifest;

    #[test]
    fn manifest_is_a_pod_with_its_own_network() {
        let pod: Pod = serde_json::from_str(&manifest("example/pause:3")).unwrap();
        let spec = pod.spec.unwrap();
        assert_eq!(spec.containers[0].image.as_deref(), Some("example/pause:3"));
        assert_eq!(spec.host_network, None);
    }
}
