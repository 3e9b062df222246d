//! A configuration as flags have it.

use std::io;
use std::path::PathBuf;

use super::files::absolute;
use super::{
    ApiServer, Audit, Config, ConfigError, Cpus, Etcd, Label, Memory, MountFlag, NodeConfig, PodSecurity,
    PublishFlag,
};

/// What can be said by flags. Relative paths are so to the current directory.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// How many nodes run.
    pub nodes: Option<usize>,
    /// Directories and files that nodes see.
    pub mounts: Vec<MountFlag>,
    /// Ports that lead into the cluster.
    pub ports: Vec<PublishFlag>,
    /// Processor time of every node.
    pub cpus: Option<Cpus>,
    /// Memory of every node.
    pub memory: Option<Memory>,
    /// Labels of every node.
    pub labels: Vec<Label>,
    /// Files with images.
    pub images: Vec<PathBuf>,
    /// Manifests.
    pub manifests: Vec<PathBuf>,
    /// Which requests are written down: the file with the policy, or nothing for the usual one.
    pub audit: Option<Option<PathBuf>>,
    /// The pod security standard.
    pub pod_security: Option<PodSecurity>,
    /// Whether etcd need not wait for the disk.
    pub no_fsync: bool,
    /// Whether etcd's data is in memory while the cluster runs.
    pub etcd_in_memory: bool,
}

impl Flags {
    /// The configuration that holds what they say, with absolute paths.
    ///
    /// # Errors
    /// The current directory is not known.
    pub fn config(self) -> Result<Config, ConfigError> {
        let here = std::env::current_dir().map_err(|source: io::Error| ConfigError::Read {
            path: ".".into(),
            source,
        })?;
        let config = Config {
            count: self.nodes.map(|nodes| u16::try_from(nodes).unwrap_or(u16::MAX)),
            images: self.images,
            manifests: self.manifests,
            all_nodes: NodeConfig {
                cpus: self.cpus,
                memory: self.memory,
                labels: self
                    .labels
                    .into_iter()
                    .map(|Label(key, value)| (key, value))
                    .collect(),
                ..NodeConfig::default()
            },
            mounts: self.mounts.into_iter().map(|MountFlag(mount)| mount).collect(),
            etcd: Etcd {
                fsync: self.no_fsync.then_some(false),
                in_memory: self.etcd_in_memory.then_some(true),
            },
            api_server: ApiServer {
                audit: self
                    .audit
                    .map(|policy| policy.map_or(Audit::Default, Audit::Policy)),
                pod_security: self.pod_security,
            },
            ports: self.ports.into_iter().map(|PublishFlag(port)| port).collect(),
            ..Config::default()
        };
        Ok(absolute(config, &here))
    }
}
