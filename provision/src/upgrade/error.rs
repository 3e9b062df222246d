use parbake_cluster::KubernetesVersion;

use crate::inputs;
use crate::provider::{self, ProviderName};

/// A provider could not be created or upgraded.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(
        "the provider `{0}` exists already; choose another name, or run `parbake provider update {0} --newest`"
    )]
    Exists(ProviderName),
    #[error(
        "could not download the Go module `{module}` {version}; choose another version with `--kubernetes`"
    )]
    Module {
        module: String,
        version: String,
        #[source]
        source: parbake_machine::Error,
    },
    #[error("could not resolve the modules of `{folder}`")]
    Modules {
        folder: String,
        #[source]
        source: parbake_machine::Error,
    },
    #[error("could not find the constant `{name}` in the source of kubeadm {version}")]
    Constant {
        name: &'static str,
        version: KubernetesVersion,
    },
    #[error("`{folder}/go.mod` requires no module that has the package `{package}`")]
    NoModule { folder: String, package: String },
    #[error("could not change the provider file")]
    Recipe(#[from] toml_edit::TomlError),
    #[error(transparent)]
    Provider(#[from] provider::Error),
    #[error(transparent)]
    Inputs(#[from] inputs::Error),
    /// A command or a file operation failed.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
}
