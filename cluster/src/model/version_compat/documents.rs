//! Conversion of configuration documents from the newest version to older ones.

use serde_json::{Map, Value, json};

use super::KubeadmApi;
use crate::model::version::KubernetesVersion;

/// Fields of kubeadm's documents that were added in `1.minor`, as JSON pointers (RFC 6901).
const KUBEADM: [(&str, u64); 5] = [
    ("/apiServer/extraArgs/permit-port-sharing", 20),
    ("/nodeRegistration/imagePullPolicy", 22),
    ("/patches", 22),
    ("/encryptionAlgorithm", 31),
    ("/timeouts", 31),
];
/// Fields of the kubelet's and kube-proxy's configuration that were added in `1.minor`.
const CONFIGURATION: [(&str, u64); 1] = [("/failCgroupV1", 31)];
/// The fields with command-line arguments. Since `v1beta4` they are lists of `name` and `value`, so that an argument can be
/// repeated.
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
                *arguments = list_to_map(arguments.take());
            }
        }
    }
    remove_newer(version, &KUBEADM, document)
}

pub(super) fn configuration(version: &KubernetesVersion, document: Value) -> Value {
    remove_newer(version, &CONFIGURATION, document)
}

fn list_to_map(arguments: Value) -> Value {
    let Value::Array(arguments) = arguments else {
        return arguments;
    };
    let entry = |mut argument: Value| Some((argument["name"].as_str()?.to_owned(), argument["value"].take()));
    Value::Object(arguments.into_iter().filter_map(entry).collect::<Map<_, _>>())
}

fn remove_newer(version: &KubernetesVersion, fields: &[(&str, u64)], mut document: Value) -> Value {
    for (pointer, _) in fields.iter().filter(|(_, minor)| !version.at_least(*minor)) {
        if let Some((parent, key)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = document.pointer_mut(parent)
        {
            parent.remove(key);
        }
    }
    document
}
