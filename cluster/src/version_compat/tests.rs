use parbake_machine::host::CgroupLayout;
use serde_json::json;

use super::{Dialect, KubeadmApi, UnfitHost};
use crate::version::KubernetesVersion;
use crate::{ClusterDomain, IpFamilies, NodeName, Role, Subnets};

fn version(minor: u64) -> KubernetesVersion {
    format!("v1.{minor}.0").parse().unwrap()
}

/// The first minor version of which `question` is true, which it must be of all later ones too.
fn since(question: impl Fn(Dialect<'_>) -> bool) -> u64 {
    let answers: Vec<(u64, bool)> = (17..=40)
        .map(|minor| (minor, question(version(minor).dialect())))
        .collect();
    let first = answers.iter().position(|(_, yes)| *yes).unwrap();
    assert!(answers[first..].iter().all(|(_, yes)| *yes), "{answers:?}");
    answers[first].0
}

#[test]
fn every_question_has_its_first_version() {
    let kubeadm = |api| since(|dialect| dialect.kubeadm_api() >= api);
    let found = [
        kubeadm(KubeadmApi::V1Beta2),
        kubeadm(KubeadmApi::V1Beta3),
        kubeadm(KubeadmApi::V1Beta4),
        since(|dialect| dialect.knows_cgroup_v2()),
        since(|dialect| dialect.has_root_ca_maps()),
        since(|dialect| dialect.knows_both_families()),
        since(|dialect| dialect.patches_manifests()),
        since(|dialect| dialect.etcd_tool() == "etcdutl"),
        since(|dialect| dialect.has_super_admin()),
        since(|dialect| dialect.knows_cri_v1()),
        since(|dialect| dialect.needs_cri_v1()),
        since(|dialect| dialect.needs_cgroup_driver_of_runtime()),
        since(|dialect| dialect.etcd_can_skip_fsync()),
        since(|dialect| dialect.pod_security_api().is_some()),
        since(|dialect| dialect.pod_security_api().is_some_and(|api| api.ends_with("/v1"))),
        since(|dialect| dialect.knows_swap()),
    ];
    assert_eq!(
        found,
        [17, 22, 31, 19, 20, 21, 22, 22, 29, 23, 26, 37, 22, 23, 25, 30]
    );
}

#[test]
fn kubeadm_is_told_in_the_words_of_its_version() {
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
    let told = |minor| version(minor).dialect().kubeadm(document());
    assert_eq!(told(31), document());
    assert_eq!(
        told(22),
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
        told(17),
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
fn a_document_without_the_field_stays_as_it_is() {
    let document = json!({ "kind": "KubeletConfiguration", "failSwapOn": false });
    for minor in [17, 36] {
        assert_eq!(version(minor).dialect().configuration(document.clone()), document);
    }
    let document = json!({ "failCgroupV1": false, "failSwapOn": false });
    let told = version(30).dialect().configuration(document.clone());
    assert_eq!(told, json!({ "failSwapOn": false }));
    assert_eq!(version(31).dialect().configuration(document.clone()), document);
}

#[test]
fn only_old_kubelets_on_new_hosts_do_not_run() {
    let runs = |minor, layout| version(minor).dialect().runs_with(layout);
    for layout in [CgroupLayout::V1, CgroupLayout::Hybrid] {
        assert_eq!(runs(17, layout), Ok(()));
    }
    assert_eq!(runs(19, CgroupLayout::V2), Ok(()));
    let error = runs(17, CgroupLayout::V2).unwrap_err();
    assert_eq!(error, UnfitHost::Cgroups(version(17)));
    assert_eq!(
        error.to_string(),
        "the kubelet of Kubernetes v1.17.0 knows only version 1 of control groups, and this host has only version 2; \
         boot it with `systemd.unified_cgroup_hierarchy=0`, or take Kubernetes 1.19 or newer"
    );
}

#[test]
fn both_families_are_for_newer_versions() {
    let subnets = |nets: [&str; 3]| {
        let [nodes, pods, services] = nets.map(|net| net.parse().unwrap());
        Subnets {
            nodes,
            pods,
            services,
        }
    };
    let four = subnets(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]);
    let six = subnets(["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"]);
    let names = [(NodeName::numbered(1), Role::ControlPlane)];
    for (minor, second, expected) in [
        (17, None, Ok(())),
        (17, Some(six), Err(UnfitHost::Families(version(17)))),
        (21, Some(six), Ok(())),
    ] {
        let stacks = IpFamilies { first: four, second };
        let cluster = stacks.describe(version(minor), ClusterDomain::default(), &names);
        assert_eq!(
            cluster.unwrap().suits_with(CgroupLayout::Hybrid),
            expected,
            "{minor}"
        );
    }
}
