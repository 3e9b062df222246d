//! A cluster's configuration, `cluster.toml`: what its user wants of it beyond what was baked.
//!
//! ```text
//! the user's file --\
//!                    merge: flags win --> check --> DIR/clusters/NAME/cluster.toml --> every start of the cluster
//! flags ------------/
//! ```
//!
//! The types here are the format: serde reads and writes them, and the JSON schema is derived from them. `read` finds all
//! that is wrong with a text, `check` what its parts say against each other, against the artifact and against the host.
//! What follows from a configuration is done at three places: `apply` for what is decided before machines boot, the
//! API for labels and taints, `workloads` for images and manifests. `docs/configuration.md` is for users.

mod apply;
mod audit;
mod check;
mod cluster_options;
mod compat;
mod component;
mod control_plane;
mod cpu_manager;
mod error;
mod files;
mod flags;
mod host;
mod kubelet;
mod label;
mod merge;
mod mount;
mod name;
mod port;
mod quantity;
mod read;
mod request;
mod show;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use parbake_cluster::diagnostics::Problems;
use parbake_cluster::labels_and_taints::Taint;
use parbake_cluster::{NodeName, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use apply::{
    changes_control_plane, configure, configure_machine, exempt_namespaces, labels_and_taints,
};
pub use cluster_options::{ApiServer, Audit, Etcd, InvalidPodSecurity, PodSecurity};
pub use error::ConfigError;
pub use flags::Flags;
pub(crate) use kubelet::join_settings;
pub use label::{Label, LabelKey, LabelValue};
pub use mount::{Mount, MountFlag};
pub use name::{Argument, ArgumentValue, Component, FeatureGate, Sysctl, SysctlValue};
pub use port::{Port, PublishFlag};
pub use quantity::{Cpus, InvalidQuantity, Memory};
pub use request::{ConfigFile, ConfigRequest};
pub(crate) use show::effective;
pub use show::{schema, to_toml};
pub(crate) use stored::{load, store};

/// The version of the format.
pub const VERSION: u32 = 1;

/// `cluster.toml`: what a cluster is to be beyond what was baked. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The version of the format, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub version: Option<u32>,
    /// How many of the baked nodes run, the first ones; all of them if it is not given. The flag `--nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u16>,
    /// Files with container images, as `parbake image load` takes them: loaded into all nodes before the manifests are
    /// applied. Relative to the configuration's directory. The flag `--image`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// Files with Kubernetes manifests (YAML or JSON), or directories of such: applied after the first start, in this
    /// order. Relative to the configuration's directory. The flag `--manifest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<PathBuf>,
    /// What holds for every node, unless its own table says otherwise.
    #[serde(default, skip_serializing_if = "NodeConfig::is_empty")]
    pub all_nodes: NodeConfig,
    /// What holds for one node, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, NodeConfig>")]
    pub nodes: BTreeMap<NodeName, NodeConfig>,
    /// Directories and files of this host that nodes see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// TCP ports of this host that lead to ports of nodes, as long as the cluster runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// How etcd keeps the cluster's data.
    #[serde(default, skip_serializing_if = "Etcd::is_empty")]
    pub etcd: Etcd,
    /// What the API server checks and writes down.
    #[serde(default, skip_serializing_if = "ApiServer::is_empty")]
    pub api_server: ApiServer,
    /// Feature gates of the API server, the controller manager, the scheduler and the kubelets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<FeatureGate, bool>,
    /// Arguments of Kubernetes' programs, without the two dashes: they take the place of those with the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<Component, BTreeMap<Argument, ArgumentValue>>,
}

/// What a node is to be beyond what was baked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// Its role, which must be the one that it was baked with. Only for one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoleName>")]
    pub role: Option<Role>,
    /// How much processor time it may take, in processors. The flag `--cpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// How much memory it may take, such as "2GiB". The flag `--memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Whether its pods may be swapped out, as far as their requests of memory go (`LimitedSwap` of the kubelet). Takes a
    /// host with cgroup v2 and swap space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<bool>,
    /// Labels of the node in the API. The flag `--label`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Taints of the node in the API, as kubectl writes them: "KEY=VALUE:EFFECT".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub taints: Vec<Taint>,
    /// Kernel parameters below `net.` of the node, by their names for sysctl(8).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<Sysctl, SysctlValue>,
}

/// A node's role, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
#[expect(dead_code, reason = "the schema is made from its variants")]
enum RoleName {
    ControlPlane,
    Worker,
}

impl NodeConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// Reads the text of a `cluster.toml`, with paths as they stand there.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut document = read::Document::parse(text)?;
        let config = document.config();
        for (place, message) in check::alone(&config) {
            document.note(&place, message);
        }
        document.finish(config)
    }

    /// What one node is to be: what holds for all, and what holds for it.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> NodeConfig {
        let all = self.all_nodes.clone();
        match self.nodes.get(name) {
            Some(own) => merge::node(all, own.clone()),
            None => all,
        }
    }
}
