//! Documents for Kubernetes' programs, from the newest words to those of a version.

use serde_json::{Map, Value, json};

use super::KubeadmApi;
use crate::version::KubernetesVersion;

/// Fields of kubeadm's documents that came with `1.minor`, as JSON pointers (RFC 6901).
const KUBEADM: [(&str, u64); 5] = [
    ("/apiServer/extraArgs/permit-port-sharing", 20),
    ("/nodeRegistration/imagePullPolicy", 22),
    ("/patches", 22),
    ("/encryptionAlgorithm", 31),
    ("/timeouts", 31),
];
/// The same of the kubelet's configuration and of kube-proxy's.
const CONFIGURATION: [(&str, u64); 1] = [("/failCgroupV1", 31)];
/// The fields with arguments: lists of `name` and `value` since `v1beta4`, which lets an argument come twice.
const ARGUMENTS: [&str; 5] = [
    "/nodeRegistration/kubeletExtraArgs",
    "/apiServer/extraArgs",
    "/controllerManager/extraArgs",
    "/scheduler/extraArgs",
    "/etcd/local/extraArgs",
];

pub(super) fn kubeadm(version: &KubernetesVersion, api: KubeadmApi, mut document: Value) -> Value {
    document["apiVersion"] = json!(api.as_str());
    if api < KubeadmApi::V1Beta4 {
        for pointer in ARGUMENTS {
            if let Some(arguments) = document.pointer_mut(pointer) {
                *arguments = by_name(arguments.take());
            }
        }
    }
    without_later(version, &KUBEADM, document)
}

pub(super) fn configuration(version: &KubernetesVersion, document: Value) -> Value {
    without_later(version, &CONFIGURATION, document)
}

fn by_name(arguments: Value) -> Value {
    let Value::Array(arguments) = arguments else {
        return arguments;
    };
    let entry = |mut argument: Value| Some((argument["name"].as_str()?.to_owned(), argument["value"].take()));
    Value::Object(arguments.into_iter().filter_map(entry).collect::<Map<_, _>>())
}

fn without_later(version: &KubernetesVersion, fields: &[(&str, u64)], mut document: Value) -> Value {
    for (pointer, _) in fields.iter().filter(|(_, minor)| !version.at_least(*minor)) {
        let place = pointer.rsplit_once('/');
        let parent = place.and_then(|(parent, key)| Some((document.pointer_mut(parent)?, key)));
        if let Some((Value::Object(parent), key)) = parent {
            parent.remove(key);
        }
    }
    document
}
