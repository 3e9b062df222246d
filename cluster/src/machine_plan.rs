//! The machines of a cluster as the supervisor wants them: a pure function from description and layers to a plan.

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

use crate::description::is_ipv6;
use crate::{Description, Node, NodeName, Role};
use crate::{builtin_services, hosts, runtime_config, shutdown};

/// Where nodes see the layers of container images that they share: `NAME/N`, one directory for each layer. The runtime's
/// own directories of committed layers are symbolic links to these.
pub const IMAGES_DIR: &str = "var/lib/parbake/images";

/// What a kubelet wrote down of the processors and the memory that containers had for themselves. None of them outlives
/// a start; and a kubelet that is told another policy, or finds another host, does not start with it.
const ASSIGNMENTS: [&str; 2] = [
    "var/lib/kubelet/cpu_manager_state",
    "var/lib/kubelet/memory_manager_state",
];

/// The manifest of a control plane's API server.
const API_SERVER: &str = "etc/kubernetes/manifests/kube-apiserver.yaml";

/// Machines that could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime's configuration in the layers is damaged.
    #[error(transparent)]
    Runtime(#[from] runtime_config::Error),
    /// The images' layers cannot be listed.
    #[error("could not list the image layers of node `{node}`")]
    Images {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether the machines of a cluster boot for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// Their files come from the layers, plus what is seeded for a new cluster.
    First,
    /// They have run before. Their files stay as they are, except for what depends on the host.
    Restart,
}

/// What a plan needs beside the cluster's description.
#[derive(Debug)]
pub struct LaunchContext<'a> {
    /// Tells the cluster's cgroups from those of others on this host: `[a-z0-9-]+`.
    pub id: &'a str,
    /// The directory that the cluster owns.
    pub dir: &'a Path,
    /// What is different because of the host.
    pub host: &'a HostSettings,
    /// Ports of the host that lead into the cluster.
    pub forwards: Vec<Forward>,
    /// Whether there is a way to the outside.
    pub internet: bool,
    /// Whether everything ends when the process that starts it does.
    pub end_with_parent: bool,
    pub boot: Boot,
}

/// Plans the machines of `cluster`. `layers` gives a node's layers, bottom first, and `files` what is to be written into
/// its root beside what every node gets.
///
/// # Errors
/// The runtime's configuration in the layers is damaged, or the layers cannot be read.
pub fn plan(
    cluster: &Description,
    surroundings: LaunchContext<'_>,
    layers: impl Fn(&Node) -> Vec<PathBuf>,
    files: impl Fn(&Node) -> Vec<SeedFile>,
) -> Result<Plan, Error> {
    let machines = cluster
        .nodes()
        .iter()
        .map(|node| machine(cluster, &surroundings, node, layers(node), files(node)))
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(Plan {
        id: surroundings.id.to_owned(),
        dir: surroundings.dir.to_owned(),
        gateway: in_network(cluster.networks().gateway, cluster.networks().nodes),
        second_gateway: cluster
            .networks()
            .second
            .map(|family| in_network(family.gateway, family.nodes)),
        machines,
        forwards: surroundings.forwards,
        internet: surroundings.internet,
        balancers: balancers(cluster),
        host: surroundings.host.clone(),
        end_with_parent: surroundings.end_with_parent,
        shutdown_commands: shutdown::stages(),
    })
}

/// What leads to the API servers where there are several.
fn balancers(cluster: &Description) -> Vec<Balancer> {
    let balancer = Balancer {
        listen: cluster.api_server(),
        to: cluster.api_servers().collect(),
    };
    Some(balancer)
        .filter(|balancer| balancer.to.len() > 1)
        .into_iter()
        .collect()
}

/// Plans one machine of `cluster`, with its layers, bottom first, and files of its own.
///
/// # Errors
/// See [`plan`].
pub fn machine(
    cluster: &Description,
    surroundings: &LaunchContext<'_>,
    node: &Node,
    layers: Vec<PathBuf>,
    files: Vec<SeedFile>,
) -> Result<MachinePlan, Error> {
    let binds = images(&layers).map_err(|source| Error::Images {
        node: node.name.clone(),
        source,
    })?;
    // Layers of images are for containers: stacked below the node their whiteouts would be the node's.
    let layers: Vec<PathBuf> = layers.into_iter().filter(|layer| !holds_images(layer)).collect();
    let dir = machine_dir(surroundings.dir, node);
    let mut own = Vec::new();
    if surroundings.boot == Boot::Restart {
        // Somebody may have changed it since.
        let upper = iter::once(Dirs(&dir).upper());
        let stack: Vec<PathBuf> = layers.iter().cloned().chain(upper).collect();
        own.extend(runtime_config::config(&stack, surroundings.host)?);
    } else {
        own.extend(common_files(cluster, node));
        own.extend(builtin_services::files(cluster, node, surroundings.internet));
        own.extend(runtime_config::config(&layers, surroundings.host)?);
        own.push(runtime_config::kubelet_flags(surroundings.host, &[]));
    }
    own.extend(ASSIGNMENTS.map(|path| SeedFile {
        path: path.into(),
        content: SeedContent::Absent,
    }));
    own.extend(files);
    Ok(MachinePlan {
        endpoint: Endpoint {
            name: node.name.to_string(),
            address: in_network(node.address, cluster.networks().nodes),
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
        plain: vec![cluster.runtime().answers().dir.into()],
        in_memory: Vec::new(),
        files: own,
    })
}

fn second_address(cluster: &Description, node: &Node) -> Option<IpNet> {
    let (place, family) = (node.second?, cluster.networks().second?);
    Some(in_network(place.address, family.nodes))
}

/// A host's `address` with the prefix length of its network.
fn in_network(address: IpAddr, network: IpNet) -> IpNet {
    IpNet::new_assert(address, network.prefix_len())
}

/// The committed layers of container images, as binds: `/var/lib/parbake/images/NAME` of a layer.
fn images(layers: &[PathBuf]) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for layer in layers.iter().filter(|layer| holds_images(layer)) {
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

/// Workers wait for the control plane, never the other way round: while all of them start it comes first.
fn cpu_weight(node: &Node) -> u32 {
    match node.role {
        Role::ControlPlane => 1000,
        Role::Worker => 100,
    }
}

/// Whether there is an API server that agrees to share its port, as its manifest in the topmost of `layers` that has one
/// says.
fn shares_api_port(layers: &[PathBuf]) -> bool {
    let mut manifests = layers.iter().rev().map(|layer| layer.join(API_SERVER));
    manifests
        .find_map(|manifest| fs::read_to_string(manifest).ok())
        .is_some_and(|manifest| manifest.contains("--permit-port-sharing=true"))
}

fn holds_images(layer: &Path) -> bool {
    layer.join(IMAGES_DIR).is_dir()
}

/// The directory that the machine `node` of the cluster in `dir` owns.
pub fn machine_dir(dir: &Path, node: &Node) -> PathBuf {
    dir.join("machines").join(node.name.to_string())
}

/// A regular file to be seeded, world-readable.
pub fn public_file(path: &str, text: impl Into<String>) -> SeedFile {
    SeedFile {
        path: path.into(),
        content: SeedContent::File {
            mode: 0o644,
            text: text.into(),
        },
    }
}

fn common_files(cluster: &Description, node: &Node) -> Vec<SeedFile> {
    vec![
        public_file("etc/hostname", format!("{}\n", node.name)),
        public_file("etc/hosts", hosts(cluster)),
        public_file("etc/cni/net.d/10-parbake.conflist", pod_network(node)),
    ]
}

/// A name that no resolver answers costs a kubelet minutes, so every node knows every other.
fn hosts(cluster: &Description) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    if cluster.networks().has_ipv6() {
        text.push_str("::1 localhost\n");
    }
    for line in cluster.nodes().iter().flat_map(hosts::lines) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(registry) = cluster.registry() {
        let _ = writeln!(text, "{} {}", registry.ip(), builtin_services::REGISTRY);
    }
    text
}

/// The pod network without a daemon: a bridge on each node; the supervisor sets the routes between nodes.
fn pod_network(node: &Node) -> String {
    let ranges: Vec<_> = node
        .pod_cidrs()
        .map(|subnet| serde_json::json!([{ "subnet": subnet }]))
        .collect();
    let everything = |network: IpNet| if is_ipv6(&network) { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<_> = node
        .pod_cidrs()
        .map(|network| serde_json::json!({ "dst": everything(network) }))
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
                    // On a file system that a power-off clears: after a thaw no address is taken.
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
