//! A cluster's configuration, `cluster.toml`: settings that a user adds to a baked cluster.
//!
//! ```text
//! user's file --\
//!                merge (flags win) --> validate --> DIR/clusters/NAME/cluster.toml --> every start of the cluster
//! flags --------/
//! ```
//!
//! The types here are the format: serde reads and writes them, and the JSON schema is derived from them. `validate` checks
//! a configuration for itself, for the cluster and for the host, and reports all problems at once. A configuration is
//! applied in three places: `apply` before machines boot, the API for labels and taints, and `crate::workloads` for images
//! and manifests. Users read `docs/configuration.md`.

mod apply;
mod audit;
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
mod request;
mod show;
mod stored;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use parbake_cluster::diagnostics::Problems;
use parbake_cluster::model::labels_and_taints::Taint;
use parbake_cluster::toml_document::Document;
use parbake_cluster::{NodeName, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use apply::{
    changes_control_plane, configure, configure_machine, exempt_namespaces, labels_and_taints,
};
pub use cluster_options::{ApiServer, Audit, Etcd, PodSecurity};
pub use error::{ConfigError, InvalidValue};
pub use flags::Flags;
pub(crate) use kubelet::join_settings;
pub use label::{Label, LabelKey, LabelValue};
pub use mount::{Mount, MountFlag};
pub use name::{Argument, ArgumentValue, Component, FeatureGate, Sysctl, SysctlValue};
pub use port::{Port, PublishFlag};
pub use quantity::{Cpus, Memory};
pub use request::{ConfigFile, ConfigRequest};
pub(crate) use show::effective;
pub use show::{schema, to_toml};
pub(crate) use stored::{load, store};

/// The version of the format.
pub const VERSION: u32 = 1;

/// `cluster.toml`: the configuration of a cluster. Every field is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The version of the format, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub version: Option<u32>,
    /// The number of baked nodes that run, starting with the first; all of them by default. The flag `--nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u16>,
    /// Files with container images, as accepted by `parbake image load`. They are loaded into all nodes before the
    /// manifests are applied. Relative to the configuration's directory. The flag `--image`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// Files with Kubernetes manifests (YAML or JSON), or directories with such files. They are applied after the first
    /// start, in this order. Relative to the configuration's directory. The flag `--manifest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<PathBuf>,
    /// Settings of all nodes; a node's own table takes precedence.
    #[serde(default, skip_serializing_if = "NodeConfig::is_empty")]
    pub all_nodes: NodeConfig,
    /// Settings of single nodes, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, NodeConfig>")]
    pub nodes: BTreeMap<NodeName, NodeConfig>,
    /// Directories and files of this host that are mounted in nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// TCP ports of this host that are forwarded to ports of nodes while the cluster runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// How etcd stores the cluster's data.
    #[serde(default, skip_serializing_if = "Etcd::is_empty")]
    pub etcd: Etcd,
    /// Audit log and pod security of the API server.
    #[serde(default, skip_serializing_if = "ApiServer::is_empty")]
    pub api_server: ApiServer,
    /// Feature gates of the API server, the controller manager, the scheduler and the kubelets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<FeatureGate, bool>,
    /// Arguments of Kubernetes components, without the leading `--`. They override arguments of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<Component, BTreeMap<Argument, ArgumentValue>>,
}

/// The configuration of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// The role that the node was baked with; it cannot be changed. Only for single nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoleName>")]
    pub role: Option<Role>,
    /// CPU limit, in CPUs. The flag `--cpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Memory limit, such as "2GiB". The flag `--memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Lets pods use swap in proportion to their memory requests (`LimitedSwap` of the kubelet). Needs a host with cgroup v2
    /// and swap space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<bool>,
    /// Labels of the node in the API. The flag `--label`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Taints of the node in the API, in the notation of kubectl: "KEY=VALUE:EFFECT".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub taints: Vec<Taint>,
    /// Kernel parameters below `net.` of the node, by their sysctl(8) names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<Sysctl, SysctlValue>,
}

/// A node's role, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
#[expect(dead_code, reason = "the schema is derived from its variants")]
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
    /// Parses and validates the text of a `cluster.toml`. Relative paths stay relative.
    ///
    /// # Errors
    /// All problems of the text, with line and column.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut document = Document::parse(text)?;
        let config: Self = document.deserialize().unwrap_or_default();
        document.report_all(validate::validate(&config));
        document.finish(Some(config))
    }

    /// The configuration of one node: its own settings and those of all nodes.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> NodeConfig {
        let all = self.all_nodes.clone();
        match self.nodes.get(name) {
            Some(own) => merge::node(all, own.clone()),
            None => all,
        }
    }
}
