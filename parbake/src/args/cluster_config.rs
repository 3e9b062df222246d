//! The configuration of a new cluster: a file, and flags that override it.

use std::path::PathBuf;

use parbake_up::config::{
    ConfigFile, ConfigRequest, Cpus, Flags, Label, Memory, MountFlag, PodSecurity, PublishFlag,
};

use super::{node_count, path};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ClusterConfigArgs {
    /// Read a configuration file, which the options below override; see docs/configuration.md
    #[arg(long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// How many nodes to run, the first ones first; more than were baked join [default: all baked]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// Limit the CPUs of each node, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Cpus>,
    /// Limit the memory of each node, such as 4GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// Label all nodes; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Mount a directory or file of this host in all nodes, or in one (HOST:NODE:PATH); repeatable
    #[arg(long = "mount", value_name = "HOST:PATH[:ro]")]
    mounts: Vec<MountFlag>,
    /// Publish a port of the first node, or of another (HOST:NODE:PORT), on this host; repeatable
    #[arg(long = "publish", value_name = "[ADDRESS:]HOST:PORT")]
    ports: Vec<PublishFlag>,
    /// Load images from an archive, as `parbake image load` does; repeatable
    #[arg(long = "image", value_name = "FILE", value_parser = path())]
    images: Vec<PathBuf>,
    /// Apply manifests from a file or directory when the cluster is ready; repeatable
    #[arg(long = "manifest", value_name = "PATH", value_parser = path())]
    manifests: Vec<PathBuf>,
    /// Write an audit log of API requests, by a policy file (audit.k8s.io/v1) or of request metadata
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true, value_parser = path())]
    audit: Option<Option<PathBuf>>,
    /// Enforce a pod security standard: privileged, baseline or restricted
    #[arg(long, value_name = "STANDARD")]
    pod_security: Option<PodSecurity>,
    /// Let etcd skip fsync, for slow disks; data is lost if the host loses power
    #[arg(long)]
    no_fsync: bool,
    /// Keep etcd's data in memory while the cluster runs, and on disk when it is stopped
    #[arg(long)]
    etcd_in_memory: bool,
}

impl ClusterConfigArgs {
    /// Reads the file and validates the flags.
    pub(crate) fn request(self) -> anyhow::Result<ConfigRequest> {
        let file = self.config.as_deref().map(ConfigFile::read).transpose()?;
        let flags = Flags {
            nodes: self.nodes,
            mounts: self.mounts,
            ports: self.ports,
            cpus: self.cpus,
            memory: self.memory,
            labels: self.labels,
            images: self.images,
            manifests: self.manifests,
            audit: self.audit,
            pod_security: self.pod_security,
            no_fsync: self.no_fsync,
            etcd_in_memory: self.etcd_in_memory,
        };
        Ok(ConfigRequest {
            file,
            flags: flags.config()?,
        })
    }
}
