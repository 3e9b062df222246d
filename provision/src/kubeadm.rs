//! kubeadm's configuration and patches, as pure functions of the cluster's description.
//!
//! They use the newest API versions; [`parbake_cluster::model::version_compat`] converts them for the cluster's version.

use parbake_cluster::api::join;
use parbake_cluster::{Description, Node, Role};
use parbake_machine::plan::{SeedContent, SeedFile};
use serde_json::{Value, json};

/// kubeadm's directory of patches on a control plane.
const PATCHES: &str = "/etc/parbake/kubeadm-patches";
/// kubeadm's configuration on a node.
pub(crate) const CONFIG: &str = "/etc/parbake/kubeadm.yaml";
/// The static pods of a control plane.
const STATIC_PODS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// The settings of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For a bake: settings that shorten a thaw.
    Tuned,
    /// For the benchmark: kubeadm's defaults, except for what a nested node requires.
    Default,
}

/// The seeded files of a control plane: the configuration for `kubeadm init`, and patches.
pub(crate) fn init_files(cluster: &Description, node: &Node, token: &str, profile: Profile) -> Vec<SeedFile> {
    let compat = cluster.kubernetes().compat();
    let documents = [
        compat.kubeadm(init(cluster, node, token, profile)),
        compat.kubeadm(cluster_configuration(cluster, profile)),
        compat.configuration(kubelet(cluster, profile)),
        compat.configuration(kube_proxy(cluster, profile)),
    ];
    let mut files = vec![file(CONFIG, &yaml(&documents))];
    if profile == Profile::Default || !compat.patches_manifests() {
        return files;
    }
    for pod in STATIC_PODS {
        files.push(file(
            &format!("{PATCHES}/{pod}+strategic.json"),
            &probe_patch(pod).to_string(),
        ));
    }
    files
}

/// The configuration for `kubeadm join`. `ca_hash` is that of the CA's public key (`sha256:HEX`, as
/// `kubeadm join --discovery-token-ca-cert-hash` takes it).
pub(crate) fn join_config(
    cluster: &Description,
    node: &Node,
    token: &str,
    ca_hash: &str,
    profile: Profile,
) -> String {
    let endpoint = cluster.api_server().to_string();
    let mut join = join::join_configuration(cluster.runtime(), node, &endpoint, token, ca_hash);
    join["nodeRegistration"] = registration(cluster, node);
    if node.role == Role::ControlPlane {
        join["controlPlane"] = json!({ "localAPIEndpoint": local_endpoint(cluster, node) });
        if profile == Profile::Tuned {
            join["patches"] = json!({ "directory": PATCHES });
        }
    }
    yaml(&[cluster.kubernetes().compat().kubeadm(join)])
}

/// The address of the API server on the control plane `node`.
fn local_endpoint(cluster: &Description, node: &Node) -> Value {
    json!({ "advertiseAddress": node.address, "bindPort": cluster.api_server().port() })
}

fn init(cluster: &Description, node: &Node, token: &str, profile: Profile) -> Value {
    let mut init = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": local_endpoint(cluster, node),
        "bootstrapTokens": [{ "token": token, "ttl": "1h0m0s", "usages": ["signing", "authentication"],
            "groups": ["system:bootstrappers:kubeadm:default-node-token"] }],
        "nodeRegistration": registration(cluster, node),
        "timeouts": { "controlPlaneComponentHealthCheck": "4m0s" },
    });
    if profile == Profile::Tuned {
        init["patches"] = json!({ "directory": PATCHES });
    }
    init
}

fn registration(cluster: &Description, node: &Node) -> Value {
    let mut registration = join::node_registration(cluster.runtime(), node);
    if cluster.nodes().iter().all(|node| node.role == Role::ControlPlane) {
        // Workloads must be able to run on control planes if there are no workers.
        registration["taints"] = json!([]);
    }
    registration
}

fn cluster_configuration(cluster: &Description, profile: Profile) -> Value {
    // The bake reaches the API through a forwarded port of the host. kubeadm leaves out addresses of the second IP family.
    let second = cluster.control_planes().filter_map(|node| node.second);
    let sans: Vec<String> = std::iter::once("127.0.0.1".to_owned())
        .chain(second.map(|place| place.address.to_string()))
        .collect();
    let mut configuration = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "parbake",
        "kubernetesVersion": cluster.kubernetes(),
        "controlPlaneEndpoint": cluster.api_server(),
        "networking": {
            "podSubnet": cluster.networks().comma_separated(|family| family.pods),
            "serviceSubnet": cluster.networks().comma_separated(|family| family.services),
            "dnsDomain": cluster.domain(),
        },
        "apiServer": { "certSANs": sans },
    });
    if profile == Profile::Tuned {
        let single = cluster.control_planes().nth(1).is_none();
        tune(&mut configuration, single);
    }
    configuration
}

/// Shortens the waits of a thaw. `single` says that there is one control plane.
fn tune(configuration: &mut Value, single: bool) {
    // A single control plane needs no election, and the lease of a killed cluster would delay it by 15 s.
    let elect = ("leader-elect", if single { "false" } else { "true" });
    // All controllers share one limit. At the default of 20 requests per second the last one starts 2 s late.
    let rate_limit = [("kube-api-qps", "200"), ("kube-api-burst", "400")];
    // A member without peers wins every election, but only after a timeout of up to 20 heartbeats.
    let etcd = [("heartbeat-interval", "10"), ("election-timeout", "100")];
    configuration["encryptionAlgorithm"] = json!("ECDSA-P256");
    // A thaw listens on the port before the API server does, so that clients wait instead of backing off.
    configuration["apiServer"]["extraArgs"] = arguments(&[("permit-port-sharing", "true")]);
    configuration["controllerManager"]["extraArgs"] = arguments(&[&[elect], rate_limit.as_slice()].concat());
    configuration["scheduler"]["extraArgs"] = arguments(&[elect]);
    if single {
        configuration["etcd"]["local"]["extraArgs"] = arguments(&etcd);
    }
}

fn arguments(arguments: &[(&str, &str)]) -> Value {
    let argument = |(name, value): &(&str, &str)| json!({ "name": name, "value": value });
    arguments.iter().map(argument).collect()
}

fn kubelet(cluster: &Description, profile: Profile) -> Value {
    let mut kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [cluster.networks().dns],
        "clusterDomain": cluster.domain(),
        "resolvConf": "/etc/resolv.conf",
        // The node shares the host's disk, so eviction would not free it, and baked images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%" },
        "rotateCertificates": true,
    });
    if profile == Profile::Tuned {
        // Finds static pods early even if the file watch is late.
        kubelet["fileCheckFrequency"] = json!("1s");
        // The frozen status is already Ready, so after a failed first report the kubelet would wait for long.
        kubelet["nodeStatusUpdateFrequency"] = json!("1s");
        kubelet["nodeStatusReportFrequency"] = json!("5m0s");
    }
    kubelet
}

fn kube_proxy(cluster: &Description, profile: Profile) -> Value {
    let mut proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": cluster.networks().comma_separated(|family| family.pods),
        // The limits of connection tracking cannot be set from a network namespace.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
    });
    if profile == Profile::Tuned {
        // Makes ready pods reachable sooner; the clusters have few services.
        proxy["iptables"] = json!({ "minSyncPeriod": "100ms" });
    }
    proxy
}

/// Shortens the probes of a static pod: kubeadm's come every 10 s.
fn probe_patch(pod: &str) -> Value {
    let startup = json!({ "initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 240 });
    let mut container = json!({ "name": pod, "startupProbe": startup });
    if matches!(pod, "etcd" | "kube-apiserver") {
        container["readinessProbe"] = json!({ "periodSeconds": 1 });
    }
    json!({ "spec": { "containers": [container] } })
}

/// Joins JSON documents to a YAML stream.
fn yaml(documents: &[Value]) -> String {
    let texts: Vec<String> = documents
        .iter()
        .map(|document| format!("{document:#}\n"))
        .collect();
    texts.join("---\n")
}

fn file(path: &str, text: &str) -> SeedFile {
    let path = path.trim_start_matches('/').into();
    SeedFile {
        path,
        content: SeedContent::File {
            mode: 0o644,
            text: text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use parbake_cluster::{ClusterDomain, Description, IpFamilies, NodeName, Role, Subnets};
    use parbake_machine::plan::SeedContent;

    use super::{PATCHES, Profile, init_files};

    fn cluster() -> Description {
        cluster_of("v1.34.4")
    }

    fn cluster_of(version: &str) -> Description {
        let [nodes, pods, services] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let subnets = Subnets {
            nodes,
            pods,
            services,
        };
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        subnets
            .describe(version.parse().unwrap(), ClusterDomain::default(), &names)
            .unwrap()
    }

    #[test]
    fn configuration_matches_the_version_of_kubeadm() {
        let newer_fields = [
            "failCgroupV1",
            "permit-port-sharing",
            "imagePullPolicy",
            "encryptionAlgorithm",
            "patches",
            "timeouts",
        ];
        for (version, files, api, knows) in [
            ("v1.34.4", 5, "kubeadm.k8s.io/v1beta4", true),
            ("v1.17.17", 1, "kubeadm.k8s.io/v1beta2", false),
        ] {
            let cluster = cluster_of(version);
            let seeded = init_files(&cluster, &cluster.nodes()[0], "a.b", Profile::Tuned);
            assert_eq!(seeded.len(), files, "{version}");
            let SeedContent::File { text, .. } = &seeded[0].content else {
                panic!("no file")
            };
            assert_eq!(text.matches(api).count(), 2, "{text}");
            for field in newer_fields {
                assert_eq!(text.contains(field), knows, "{version} {field}");
            }
            let join = super::join_config(&cluster, &cluster.nodes()[0], "a.b", "sha256:0", Profile::Tuned);
            assert_eq!(
                (join.contains(api), join.contains("patches")),
                (true, knows),
                "{join}"
            );
        }
    }

    #[test]
    fn dual_stack_cluster_has_lists_of_networks() {
        let subnets = |nets: [&str; 3]| {
            let [nodes, pods, services] = nets.map(|net| net.parse().unwrap());
            Subnets {
                nodes,
                pods,
                services,
            }
        };
        let stacks = IpFamilies {
            first: subnets(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]),
            second: Some(subnets([
                "fd00:10:89::/64",
                "fd00:10:244::/56",
                "fd00:10:96::/112",
            ])),
        };
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        let described = stacks.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names);
        let cluster = described.unwrap();
        let [init, configuration, proxy] = [
            super::init(&cluster, &cluster.nodes()[0], "a.b", Profile::Tuned),
            super::cluster_configuration(&cluster, Profile::Tuned),
            super::kube_proxy(&cluster, Profile::Tuned),
        ];
        let values = [
            &init["nodeRegistration"]["kubeletExtraArgs"][0]["value"],
            &init["localAPIEndpoint"]["advertiseAddress"],
            &configuration["networking"]["podSubnet"],
            &configuration["networking"]["serviceSubnet"],
            &configuration["apiServer"]["certSANs"][1],
            &proxy["clusterCIDR"],
        ];
        let expected = [
            "10.89.0.11,fd00:10:89::b",
            "10.89.0.11",
            "10.244.0.0/16,fd00:10:244::/56",
            "10.96.0.0/12,fd00:10:96::/112",
            "fd00:10:89::b",
            "10.244.0.0/16,fd00:10:244::/56",
        ];
        assert_eq!(values.map(|value| value.as_str().unwrap()), expected);
    }

    #[test]
    fn default_profile_has_no_tuning() {
        let cluster = cluster();
        let node = &cluster.nodes()[0];
        let tuned = [
            "extraArgs",
            "leader-elect",
            "encryptionAlgorithm",
            "fileCheckFrequency",
            PATCHES,
        ];
        for (profile, files, found) in [(Profile::Tuned, 5, true), (Profile::Default, 1, false)] {
            let seeded = init_files(&cluster, node, "abcdef.0123456789abcdef", profile);
            assert_eq!(seeded.len(), files, "{profile:?}");
            let SeedContent::File { text, .. } = &seeded[0].content else {
                panic!("no file")
            };
            for setting in tuned {
                assert_eq!(text.contains(setting), found, "{profile:?} {setting}");
            }
            assert!(
                text.contains("127.0.0.1") && text.contains("failCgroupV1"),
                "{text}"
            );
        }
    }
}
