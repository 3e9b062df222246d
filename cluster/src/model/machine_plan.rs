//! Machine plans: from a cluster's description and its layers to what the supervisor starts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::iter;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use parbake_machine::cgroup::Limits;
use parbake_machine::fs::Dirs;
use parbake_machine::host::HostSettings;
use parbake_machine::net::Endpoint;
use parbake_machine::plan::{Balancer, Bind, Forward, MachinePlan, Plan, SeedContent, SeedFile};

use super::description::{Description, Node, Role, is_ipv6};
use super::{builtin_services, runtime_config, shutdown};
use crate::error::Error;

/// Where nodes see the shared layers of container images: `NAME/N`, one directory for each layer. The runtime's own
/// directories of committed layers are symbolic links to these.
pub const IMAGES_DIR: &str = "var/lib/parbake/images";

/// The kubelet's records of exclusive CPUs and memory. They never outlive a boot, and a kubelet with another policy or on
/// another host refuses to start with them.
const KUBELET_ASSIGNMENTS: [&str; 2] = [
    "var/lib/kubelet/cpu_manager_state",
    "var/lib/kubelet/memory_manager_state",
];

/// The manifest of a control plane's API server.
const API_SERVER: &str = "etc/kubernetes/manifests/kube-apiserver.yaml";

/// The inputs of a plan, in addition to the cluster's description.
#[derive(Debug)]
pub struct LaunchContext<'a> {
    /// Distinguishes the cluster's cgroups from others on the host: `[a-z0-9-]+`.
    pub id: &'a str,
    /// The cluster's directory.
    pub dir: &'a Path,
    pub host: &'a HostSettings,
    /// Ports of the host that lead into the cluster.
    pub forwards: Vec<Forward>,
    /// True if the cluster has a way to the outside.
    pub internet: bool,
    /// True if the machines end with the process that starts them.
    pub end_with_parent: bool,
    pub boot: Boot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    First,
    /// The machines have run before: only the files that depend on the host are written.
    Restart,
}

/// Plans the machines of `cluster`. `layers` returns a node's layers, bottom first, and `files` its additional files.
///
/// # Errors
/// The runtime's configuration in the layers is invalid, or the layers cannot be read.
pub fn plan(
    cluster: &Description,
    context: LaunchContext<'_>,
    layers: impl Fn(&Node) -> Vec<PathBuf>,
    files: impl Fn(&Node) -> Vec<SeedFile>,
) -> Result<Plan, Error> {
    let machines = cluster
        .nodes()
        .iter()
        .map(|node| machine(cluster, &context, node, layers(node), files(node)))
        .collect::<Result<Vec<_>, Error>>()?;
    let networks = cluster.networks();
    Ok(Plan {
        id: context.id.to_owned(),
        dir: context.dir.to_owned(),
        gateway: with_prefix(networks.gateway, networks.nodes),
        second_gateway: networks
            .second
            .map(|family| with_prefix(family.gateway, family.nodes)),
        machines,
        forwards: context.forwards,
        internet: context.internet,
        balancers: api_balancer(cluster).into_iter().collect(),
        host: context.host.clone(),
        end_with_parent: context.end_with_parent,
        shutdown_commands: shutdown::stages(),
    })
}

/// The load balancer in front of several API servers.
fn api_balancer(cluster: &Description) -> Option<Balancer> {
    let balancer = Balancer {
        listen: cluster.api_server(),
        to: cluster.api_servers().collect(),
    };
    (balancer.to.len() > 1).then_some(balancer)
}

/// Plans one machine of `cluster`, with its layers, bottom first, and files of its own.
///
/// # Errors
/// See [`plan`].
pub fn machine(
    cluster: &Description,
    context: &LaunchContext<'_>,
    node: &Node,
    layers: Vec<PathBuf>,
    files: Vec<SeedFile>,
) -> Result<MachinePlan, Error> {
    let binds = image_binds(&layers).map_err(|source| Error::ImageLayers {
        node: node.name.to_string(),
        source,
    })?;
    // Stacked below the node, the whiteouts of image layers would hide the node's files.
    let layers: Vec<PathBuf> = layers.into_iter().filter(|layer| !has_images(layer)).collect();
    let dir = machine_dir(context.dir, node);
    let mut seeds = Vec::new();
    match context.boot {
        Boot::Restart => {
            // The user may have changed the configuration.
            let upper = iter::once(Dirs(&dir).upper());
            let stack: Vec<PathBuf> = layers.iter().cloned().chain(upper).collect();
            seeds.extend(runtime_config::containerd_config(&stack, context.host)?);
        }
        Boot::First => {
            seeds.extend([
                SeedFile::public("etc/hostname", format!("{}\n", node.name)),
                SeedFile::public("etc/hosts", etc_hosts(cluster)),
                SeedFile::public("etc/cni/net.d/10-parbake.conflist", pod_network(node)),
            ]);
            seeds.extend(builtin_services::files(cluster, node, context.internet));
            seeds.extend(runtime_config::containerd_config(&layers, context.host)?);
            seeds.push(runtime_config::kubelet_flags(context.host, &[]));
        }
    }
    seeds.extend(KUBELET_ASSIGNMENTS.map(|path| SeedFile {
        path: path.into(),
        content: SeedContent::Absent,
    }));
    seeds.extend(files);
    Ok(MachinePlan {
        endpoint: Endpoint {
            name: node.name.to_string(),
            address: with_prefix(node.address, cluster.networks().nodes),
            second_address: second_address(cluster, node),
            pod_networks: node.pod_cidrs().collect(),
        },
        early_port: shares_api_port(&layers).then(|| cluster.api_server().port()),
        layers,
        binds,
        cpu_weight: cpu_weight(node),
        limits: Limits::default(),
        sysctls: BTreeMap::new(),
        dir,
        plain: vec![cluster.runtime().profile().dir.into()],
        in_memory: Vec::new(),
        files: seeds,
    })
}

/// The directory of the machine `node` of the cluster in `dir`.
pub fn machine_dir(dir: &Path, node: &Node) -> PathBuf {
    dir.join("machines").join(node.name.to_string())
}

/// A node's lines in `/etc/hosts`, one for each of its addresses.
pub(crate) fn etc_hosts_lines(node: &Node) -> Vec<String> {
    let line = |address| format!("{address} {}", node.name);
    node.addresses().map(line).collect()
}

fn second_address(cluster: &Description, node: &Node) -> Option<IpNet> {
    let (own, family) = (node.second?, cluster.networks().second?);
    Some(with_prefix(own.address, family.nodes))
}

/// A host's `address` with the prefix length of its network.
fn with_prefix(address: IpAddr, network: IpNet) -> IpNet {
    IpNet::new_assert(address, network.prefix_len())
}

/// Binds for the committed layers of container images, `/var/lib/parbake/images/NAME` of a layer.
fn image_binds(layers: &[PathBuf]) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for layer in layers.iter().filter(|layer| has_images(layer)) {
        for entry in fs::read_dir(layer.join(IMAGES_DIR))? {
            let entry = entry?;
            let to = Path::new(IMAGES_DIR).join(entry.file_name());
            binds.push(Bind {
                from: entry.path(),
                to,
                read_only: true,
            });
        }
    }
    binds.sort_by(|one, other| one.to.cmp(&other.to));
    Ok(binds)
}

/// Workers wait for the control plane and never the other way round, so it has priority while all of them start.
fn cpu_weight(node: &Node) -> u32 {
    match node.role {
        Role::ControlPlane => 1000,
        Role::Worker => 100,
    }
}

/// True if the API server shares its port, by its manifest in the topmost of `layers` that has one.
fn shares_api_port(layers: &[PathBuf]) -> bool {
    let mut manifests = layers.iter().rev().map(|layer| layer.join(API_SERVER));
    manifests
        .find_map(|manifest| fs::read_to_string(manifest).ok())
        .is_some_and(|manifest| manifest.contains("--permit-port-sharing=true"))
}

fn has_images(layer: &Path) -> bool {
    layer.join(IMAGES_DIR).is_dir()
}

/// A name that no resolver answers delays a kubelet by minutes, so every node knows every other.
fn etc_hosts(cluster: &Description) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    if cluster.networks().has_ipv6() {
        text.push_str("::1 localhost\n");
    }
    for line in cluster.nodes().iter().flat_map(etc_hosts_lines) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(registry) = cluster.registry() {
        let _ = writeln!(text, "{} {}", registry.ip(), builtin_services::REGISTRY);
    }
    text
}

/// The CNI configuration of the pod network, which has no daemon: a bridge on each node; the supervisor sets the routes
/// between nodes.
fn pod_network(node: &Node) -> String {
    let ranges: Vec<_> = node
        .pod_cidrs()
        .map(|subnet| serde_json::json!([{ "subnet": subnet }]))
        .collect();
    let default_route = |network: IpNet| if is_ipv6(&network) { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<_> = node
        .pod_cidrs()
        .map(|network| serde_json::json!({ "dst": default_route(network) }))
        .collect();
    let config = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "parbake",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    // A tmpfs: after a power-off no address is in use.
                    "dataDir": "/run/cni/networks",
                    "ranges": ranges,
                    "routes": routes,
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    format!("{config:#}\n")
}
