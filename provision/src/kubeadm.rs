//! What kubeadm is told: configuration and patches, as pure functions from the cluster's description.
//!
//! All of it is in the newest words; [`parbake_cluster::version_compat`] turns it into those of the cluster's version.

use parbake_cluster::{Description, Node, Role, join};
use parbake_machine::plan::{SeedContent, SeedFile};
use serde_json::{Value, json};

/// Where kubeadm finds the patches on the control plane.
const PATCHES: &str = "/etc/parbake/kubeadm-patches";
/// Where kubeadm finds its configuration.
pub(crate) const CONFIG: &str = "/etc/parbake/kubeadm.yaml";
/// The control plane's static pods and the probes that hold them back.
const STATIC_PODS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// Whose settings a cluster gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Those of a bake: it will be frozen, and be quick when it is thawed.
    Tuned,
    /// kubeadm's own, for a comparison. What stays is what a node inside of a host cannot do without.
    Default,
}

/// The seeded files of the control plane: configuration for `kubeadm init` and patches.
pub(crate) fn init_files(cluster: &Description, node: &Node, token: &str, profile: Profile) -> Vec<SeedFile> {
    let dialect = cluster.kubernetes().dialect();
    let documents = [
        dialect.kubeadm(init(cluster, node, token, profile)),
        dialect.kubeadm(cluster_configuration(cluster, profile)),
        dialect.configuration(kubelet(cluster, profile)),
        dialect.configuration(kube_proxy(cluster, profile)),
    ];
    let mut files = vec![file(CONFIG, &yaml(&documents))];
    if profile == Profile::Default || !dialect.patches_manifests() {
        return files;
    }
    for pod in STATIC_PODS {
        files.push(file(
            &format!("{PATCHES}/{pod}+strategic.json"),
            &probes(pod).to_string(),
        ));
    }
    files
}

/// The seeded files of a node that joins, once the control plane's CA is known by its `ca_hash` (`sha256:HEX` of the
/// public key, as `kubeadm join --discovery-token-ca-cert-hash` takes it).
pub(crate) fn join_config(
    cluster: &Description,
    node: &Node,
    token: &str,
    ca_hash: &str,
    profile: Profile,
) -> String {
    let endpoint = cluster.api_server().to_string();
    let mut join = join::document(cluster.runtime(), node, &endpoint, token, ca_hash);
    join["nodeRegistration"] = registration(cluster, node);
    if node.role == Role::ControlPlane {
        join["controlPlane"] = json!({ "localAPIEndpoint": local_endpoint(cluster, node) });
        if profile == Profile::Tuned {
            join["patches"] = json!({ "directory": PATCHES });
        }
    }
    yaml(&[cluster.kubernetes().dialect().kubeadm(join)])
}

/// Where the API server of the control plane `node` listens.
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
    let mut registration = join::registration(cluster.runtime(), node);
    if cluster.nodes().iter().all(|node| node.role == Role::ControlPlane) {
        // Users' pods must run somewhere.
        registration["taints"] = json!([]);
    }
    registration
}

fn cluster_configuration(cluster: &Description, profile: Profile) -> Value {
    // The way in of whoever forms the cluster, through a port of the host; and what kubeadm does not think of.
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
            "podSubnet": cluster.networks().list(|family| family.pods),
            "serviceSubnet": cluster.networks().list(|family| family.services),
            "dnsDomain": cluster.domain(),
        },
        "apiServer": { "certSANs": sans },
    });
    if profile == Profile::Tuned {
        let alone = cluster.control_planes().nth(1).is_none();
        tune(&mut configuration, alone);
    }
    configuration
}

/// Shortens what a thaw waits for; `alone` says that there is one control plane.
fn tune(configuration: &mut Value, alone: bool) {
    // With one control plane nobody competes, and a lease left over from a killed cluster would cost its full 15 s.
    let elect = ("leader-elect", if alone { "false" } else { "true" });
    // One client for each of its controllers, all held back by one limit: at the default of 20 requests a second the
    // last of them starts 2 s late.
    let quick = [("kube-api-qps", "200"), ("kube-api-burst", "400")];
    // A member without peers wins every election, after a time-out of up to 20 heartbeats.
    let etcd = [("heartbeat-interval", "10"), ("election-timeout", "100")];
    configuration["encryptionAlgorithm"] = json!("ECDSA-P256");
    // A thaw opens the port before the API server does, so that clients wait instead of backing off.
    configuration["apiServer"]["extraArgs"] = arguments(&[("permit-port-sharing", "true")]);
    configuration["controllerManager"]["extraArgs"] = arguments(&[&[elect], quick.as_slice()].concat());
    configuration["scheduler"]["extraArgs"] = arguments(&[elect]);
    if alone {
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
        // The disk is the host's: what fills it is not this node's to clean up, and baked images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%" },
        "rotateCertificates": true,
    });
    if profile == Profile::Tuned {
        // Static pods are found at the start even when the file watch is late.
        kubelet["fileCheckFrequency"] = json!("1s");
        // The frozen status says Ready, so the kubelet is in no hurry when its first report fails.
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
        "clusterCIDR": cluster.networks().list(|family| family.pods),
        // The table of connections is the host's; its limits cannot be set from a network namespace.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
    });
    if profile == Profile::Tuned {
        // A pod that has just become ready is reachable at once; nodes here have few services.
        proxy["iptables"] = json!({ "minSyncPeriod": "100ms" });
    }
    proxy
}

/// kubeadm's first probe comes after 10 s and the next 10 s later; a thaw wants to know sooner.
fn probes(pod: &str) -> Value {
    let startup = json!({ "initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 240 });
    let mut container = json!({ "name": pod, "startupProbe": startup });
    if matches!(pod, "etcd" | "kube-apiserver") {
        container["readinessProbe"] = json!({ "periodSeconds": 1 });
    }
    json!({ "spec": { "containers": [container] } })
}

/// JSON documents are YAML documents.
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
    fn an_old_kubeadm_is_told_in_its_own_words() {
        let later = [
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
            for word in later {
                assert_eq!(text.contains(word), knows, "{version} {word}");
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
    fn a_cluster_of_both_families_has_lists_of_networks() {
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
        let told = [
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
        assert_eq!(told.map(|value| value.as_str().unwrap()), expected);
    }

    #[test]
    fn a_stock_cluster_gets_nothing_that_makes_a_thaw_quick() {
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
            for word in tuned {
                assert_eq!(text.contains(word), found, "{profile:?} {word}");
            }
            assert!(
                text.contains("127.0.0.1") && text.contains("failCgroupV1"),
                "{text}"
            );
        }
    }
}
