//! The configuration of a cluster that is made: a file, and flags.

use std::path::PathBuf;

use parbake_up::config::{
    ConfigFile, ConfigRequest, Cpus, Flags, Label, Memory, MountFlag, PodSecurity, PublishFlag,
};

/// The arguments that say what a cluster is to be beyond what was baked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigArgs {
    /// A cluster.toml; flags win over it. See `parbake config schema` and docs/configuration.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many of the baked nodes to run, the first ones [default: all]
    #[arg(long, value_name = "N", value_parser = super::node_count())]
    nodes: Option<usize>,
    /// Show a directory or file of this host to all nodes, or to one (HOST:NODE:PATH); may be repeated
    #[arg(long = "mount", value_name = "HOST:PATH[:ro]")]
    mounts: Vec<MountFlag>,
    /// Lead a port of this host to a port of the first node, or of another (HOST:NODE:PORT), as long as
    /// the cluster runs; may be repeated
    #[arg(long = "publish", value_name = "[ADDRESS:]HOST:PORT")]
    ports: Vec<PublishFlag>,
    /// How many processors each node may take, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Cpus>,
    /// How much memory each node may take, such as 4GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// Label all nodes; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Load container images from a file, as `parbake image load` does; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Apply manifests from a file or directory when the cluster is ready; may be repeated
    #[arg(long = "manifest", value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// Write requests to the API down in an audit log, by a policy (audit.k8s.io/v1) or who asked for what
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true)]
    audit: Option<Option<PathBuf>>,
    /// Hold pods to a pod security standard: privileged, baseline or restricted
    #[arg(long, value_name = "STANDARD")]
    pod_security: Option<PodSecurity>,
    /// Have etcd not wait for the disk: for slow disks; lost when the host loses its power
    #[arg(long)]
    no_fsync: bool,
    /// Keep etcd's data in memory while the cluster runs, and on the disk when it is stopped
    #[arg(long)]
    etcd_in_memory: bool,
}

impl ConfigArgs {
    /// What they ask for; the file is read.
    pub(super) fn wanted(self) -> anyhow::Result<ConfigRequest> {
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
