//! A pod on every node to ask the cluster's DNS from, for measurements.
//!
//! It is a static pod (Kubernetes documentation, 'Create static Pods') of the image that the runtime keeps for every
//! pod's namespaces, so every node has it and nothing needs to schedule it. What counts is its network, which the
//! kubelet, the runtime and the pod network make as they do for any pod.

use std::time::{Duration, Instant};

use parbake_machine::plan::SeedFile;
use serde_json::json;

use crate::description::Description;
use crate::machine_plan::public_file;
use crate::readiness::{DnsProbe, wait_until_dns};
use crate::wait::TimedOut;

/// Where the kubelet finds it, below a node's root.
pub const MANIFEST: &str = "etc/kubernetes/manifests/parbake-probe.yaml";

/// The pod's manifest, with `image` as [`crate::runtime_config::sandbox_image`] has it.
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

/// The same as a file of a node that has not booted yet.
pub fn file(image: &str) -> SeedFile {
    public_file(MANIFEST, manifest(image))
}

/// The time from `started` until the cluster's DNS has answered in a pod on each node ([`DnsProbe::of_pods`]), through its
/// service address.
///
/// # Errors
/// [`TimedOut`] with the nodes that got no answer, and what they got instead.
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
    fn the_manifest_is_a_pod_with_a_network_of_its_own() {
        let pod: Pod = serde_json::from_str(&manifest("example/pause:3")).unwrap();
        let spec = pod.spec.unwrap();
        assert_eq!(spec.containers[0].image.as_deref(), Some("example/pause:3"));
        assert_eq!(spec.host_network, None);
    }
}
