use parbake_machine::host::CgroupLayout;
use serde_json::json;

use super::{KubeadmApi, VersionCompat};
use crate::error::Error;
use crate::model::version::KubernetesVersion;
use crate::{ClusterDomain, Description, IpFamilies, NodeName, Role, Subnets};

fn version(minor: u64) -> KubernetesVersion {
    format!("v1.{minor}.0").parse().unwrap()
}

/// The first minor version with a feature, which all later versions must have too.
fn since(has_feature: impl Fn(VersionCompat<'_>) -> bool) -> u64 {
    let versions: Vec<(u64, bool)> = (17..=40)
        .map(|minor| (minor, has_feature(version(minor).compat())))
        .collect();
    let first = versions.iter().position(|(_, has)| *has).unwrap();
    assert!(versions[first..].iter().all(|(_, has)| *has), "{versions:?}");
    versions[first].0
}

#[test]
fn features_start_with_the_right_version() {
    let kubeadm = |api| since(|compat| compat.kubeadm_api() >= api);
    let found = [
        kubeadm(KubeadmApi::V1Beta2),
        kubeadm(KubeadmApi::V1Beta3),
        kubeadm(KubeadmApi::V1Beta4),
        since(|compat| compat.supports_cgroup_v2()),
        since(|compat| compat.has_root_ca_maps()),
        since(|compat| compat.supports_dual_stack()),
        since(|compat| compat.patches_manifests()),
        since(|compat| compat.etcd_tool() == "etcdutl"),
        since(|compat| compat.has_super_admin()),
        since(|compat| compat.supports_cri_v1()),
        since(|compat| compat.needs_cri_v1()),
        since(|compat| compat.needs_cgroup_driver_of_runtime()),
        since(|compat| compat.etcd_can_skip_fsync()),
        since(|compat| compat.pod_security_api().is_some()),
        since(|compat| compat.pod_security_api().is_some_and(|api| api.ends_with("/v1"))),
        since(|compat| compat.supports_swap()),
        since(|compat| {
            compat
                .rejecting_admission_plugins()
                .contains(&"ValidatingAdmissionPolicy")
        }),
        since(|compat| {
            compat
                .rejecting_admission_plugins()
                .contains(&"MutatingAdmissionPolicy")
        }),
    ];
    assert_eq!(
        found,
        [
            17, 22, 31, 19, 20, 21, 22, 22, 29, 23, 26, 37, 22, 23, 25, 30, 26, 32
        ]
    );
}

#[test]
fn kubeadm_documents_are_converted() {
    let document = || {
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "apiServer": { "extraArgs": [{ "name": "permit-port-sharing", "value": "true" }], "certSANs": ["a"] },
            "scheduler": { "extraArgs": [{ "name": "v", "value": "1" }, { "name": "w", "value": "2" }] },
            "nodeRegistration": {
                "name": "node01", "imagePullPolicy": "Never",
                "kubeletExtraArgs": [{ "name": "node-ip", "value": "192.0.2.1" }],
            },
            "encryptionAlgorithm": "ECDSA-P256",
            "patches": { "directory": "/p" },
            "timeouts": { "discovery": "1m0s" },
        })
    };
    let converted = |minor| version(minor).compat().kubeadm(document());
    assert_eq!(converted(31), document());
    assert_eq!(
        converted(22),
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta3",
            "kind": "ClusterConfiguration",
            "apiServer": { "extraArgs": { "permit-port-sharing": "true" }, "certSANs": ["a"] },
            "scheduler": { "extraArgs": { "v": "1", "w": "2" } },
            "nodeRegistration": {
                "name": "node01", "imagePullPolicy": "Never", "kubeletExtraArgs": { "node-ip": "192.0.2.1" },
            },
            "patches": { "directory": "/p" },
        })
    );
    assert_eq!(
        converted(17),
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta2",
            "kind": "ClusterConfiguration",
            "apiServer": { "extraArgs": {}, "certSANs": ["a"] },
            "scheduler": { "extraArgs": { "v": "1", "w": "2" } },
            "nodeRegistration": { "name": "node01", "kubeletExtraArgs": { "node-ip": "192.0.2.1" } },
        })
    );
}

#[test]
fn only_newer_fields_are_removed() {
    let document = json!({ "kind": "KubeletConfiguration", "failSwapOn": false });
    for minor in [17, 36] {
        assert_eq!(version(minor).compat().configuration(document.clone()), document);
    }
    let document = json!({ "failCgroupV1": false, "failSwapOn": false });
    let converted = version(30).compat().configuration(document.clone());
    assert_eq!(converted, json!({ "failSwapOn": false }));
    assert_eq!(version(31).compat().configuration(document.clone()), document);
}

fn cluster(minor: u64, second: Option<Subnets>) -> Description {
    let first = subnets(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]);
    let names = [(NodeName::numbered(1), Role::ControlPlane)];
    IpFamilies { first, second }
        .describe(version(minor), ClusterDomain::default(), &names)
        .unwrap()
}

fn subnets(networks: [&str; 3]) -> Subnets {
    let [nodes, pods, services] = networks.map(|network| network.parse().unwrap());
    Subnets {
        nodes,
        pods,
        services,
    }
}

#[test]
fn kubelets_without_cgroup_v2_support_are_rejected() {
    for (minor, layout) in [
        (17, CgroupLayout::V1),
        (17, CgroupLayout::Hybrid),
        (19, CgroupLayout::V2),
    ] {
        cluster(minor, None).check_cgroups(layout).unwrap();
    }
    let error = cluster(17, None).check_cgroups(CgroupLayout::V2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kubelet of Kubernetes v1.17.0 supports only cgroup v1, and this host has only cgroup v2; boot it with \
         `systemd.unified_cgroup_hierarchy=0`, or use Kubernetes 1.19 or newer"
    );
}

#[test]
fn dual_stack_clusters_need_a_newer_version() {
    let ipv6 = subnets(["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"]);
    for (minor, second, is_supported) in [(17, None, true), (17, Some(ipv6), false), (21, Some(ipv6), true)] {
        match cluster(minor, second).check_cgroups(CgroupLayout::Hybrid) {
            Ok(()) => assert!(is_supported, "{minor}"),
            Err(Error::DualStack { version }) => {
                assert_eq!((is_supported, version.as_str()), (false, "v1.17.0"))
            }
            Err(error) => panic!("{error}"),
        }
    }
}
