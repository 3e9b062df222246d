//! The configuration that flags express.

use std::io;
use std::path::PathBuf;

use super::files::{absolute, relative_path};
use super::{
    ApiServer, Audit, Config, ConfigError, Cpus, Etcd, Label, Memory, MountFlag, NodeConfig, PodSecurity,
    PublishFlag,
};

/// The values of configuration flags. Paths are relative to the current directory.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub nodes: Option<usize>,
    pub mounts: Vec<MountFlag>,
    pub ports: Vec<PublishFlag>,
    /// CPU limit of every node.
    pub cpus: Option<Cpus>,
    /// Memory limit of every node.
    pub memory: Option<Memory>,
    /// Labels of every node.
    pub labels: Vec<Label>,
    pub images: Vec<PathBuf>,
    pub manifests: Vec<PathBuf>,
    /// Turns the audit log on, with the policy in a file or the default one.
    pub audit: Option<Option<PathBuf>>,
    pub pod_security: Option<PodSecurity>,
    pub no_fsync: bool,
    pub etcd_in_memory: bool,
}

impl Flags {
    /// The configuration with these values and absolute paths.
    ///
    /// # Errors
    /// A path is relative, and the working directory cannot be determined.
    pub fn config(self) -> Result<Config, ConfigError> {
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
        // The working directory may be gone, which matters only to relative paths.
        let Some(relative) = relative_path(&config) else {
            return Ok(config);
        };
        let here = std::env::current_dir().map_err(|source: io::Error| ConfigError::Read {
            path: relative.clone(),
            source,
        })?;
        Ok(absolute(config, &here))
    }
}
