//! What kubeadm is told: configuration and patches, as pure functions from the cluster's description.

use parbake_cluster::{Description, Node};
use parbake_machine::plan::{SeedContent, SeedFile};
use serde_json::{Value, json};

/// Where the runtime listens.
const RUNTIME: &str = "unix:///run/containerd/containerd.sock";
/// Where kubeadm finds the patches on the control plane.
const PATCHES: &str = "/etc/parbake/kubeadm-patches";
/// Where kubeadm finds its configuration.
pub(crate) const CONFIG: &str = "/etc/parbake/kubeadm.yaml";
/// kubeadm's version check of the kernel and of cgroups knows only hosts, not nodes inside of one (cgroup v1 is fine
/// for the kubelet with `failCgroupV1: false`).
const IGNORED_CHECKS: [&str; 5] = [
    "SystemVerification",
    "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
    "NumCPU",
    "Mem",
    "Swap",
];
/// The control plane's static pods and the probes that hold them back.
const STATIC_PODS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// The seeded files of the control plane: configuration for `kubeadm init` and patches.
pub(crate) fn init_files(cluster: &Description, node: &Node, token: &str) -> Vec<SeedFile> {
    let documents = [
        init(node, token),
        cluster_configuration(cluster, node),
        kubelet(cluster),
        kube_proxy(cluster),
    ];
    let mut files = vec![file(CONFIG, &yaml(&documents))];
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
pub(crate) fn join_config(node: &Node, endpoint: &str, token: &str, ca_hash: &str) -> String {
    yaml(&[json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": { "bootstrapToken": {
            "apiServerEndpoint": endpoint, "token": token, "caCertHashes": [ca_hash],
        } },
        "nodeRegistration": registration(node),
    })])
}

/// Where the API of the control plane `node` is served inside the cluster.
pub(crate) fn endpoint(node: &Node) -> String {
    format!("{}:6443", node.address)
}

fn init(node: &Node, token: &str) -> Value {
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": 6443 },
        "bootstrapTokens": [{ "token": token, "ttl": "1h0m0s", "usages": ["signing", "authentication"],
            "groups": ["system:bootstrappers:kubeadm:default-node-token"] }],
        "nodeRegistration": registration(node),
        "patches": { "directory": PATCHES },
        "timeouts": { "controlPlaneComponentHealthCheck": "4m0s" },
    })
}

fn registration(node: &Node) -> Value {
    json!({
        "name": node.name,
        "criSocket": RUNTIME,
        "imagePullPolicy": "Never",
        "ignorePreflightErrors": IGNORED_CHECKS,
        "kubeletExtraArgs": [{ "name": "node-ip", "value": node.address.to_string() }],
    })
}

fn cluster_configuration(cluster: &Description, node: &Node) -> Value {
    // With one control plane nobody competes, and a lease left over from the bake would cost its full 15 s.
    let alone = ("leader-elect", "false");
    // One client for each of its controllers, all held back by one limit: at the default of 20 requests a second the
    // last of them starts 2 s late.
    let quick = [("kube-api-qps", "200"), ("kube-api-burst", "400")];
    // A member without peers wins every election, after a time-out of up to 20 heartbeats.
    let etcd = [("heartbeat-interval", "10"), ("election-timeout", "100")];
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "parbake",
        "kubernetesVersion": cluster.kubernetes(),
        "controlPlaneEndpoint": endpoint(node),
        "encryptionAlgorithm": "ECDSA-P256",
        "networking": {
            "podSubnet": cluster.networks().pods,
            "serviceSubnet": cluster.networks().services,
            "dnsDomain": cluster.domain(),
        },
        // The bake's own way in, through a port of the host.
        "apiServer": {
            "certSANs": ["127.0.0.1"],
            // A thaw opens the port before the API server does, so that clients wait instead of backing off.
            "extraArgs": arguments(&[("permit-port-sharing", "true")]),
        },
        "controllerManager": { "extraArgs": arguments(&[&[alone], quick.as_slice()].concat()) },
        "scheduler": { "extraArgs": arguments(&[alone]) },
        "etcd": { "local": { "extraArgs": arguments(&etcd) } },
    })
}

fn arguments(arguments: &[(&str, &str)]) -> Vec<Value> {
    let argument = |(name, value): &(&str, &str)| json!({ "name": name, "value": value });
    arguments.iter().map(argument).collect()
}

fn kubelet(cluster: &Description) -> Value {
    json!({
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
        // Static pods are found at the start even when the file watch is late.
        "fileCheckFrequency": "1s",
        "rotateCertificates": true,
    })
}

fn kube_proxy(cluster: &Description) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": cluster.networks().pods,
        // The table of connections is the host's; its limits cannot be set from a network namespace.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
    })
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
