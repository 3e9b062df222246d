//! What can go wrong with new providers.

use parbake_cluster::KubernetesVersion;

use crate::inputs;
use crate::provider::{self, ProviderName};

/// A provider that could not be made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// There is something of this name.
    #[error(
        "there is `{0}` among the providers already; choose another name, or `parbake provider update {0} --newest`"
    )]
    Exists(ProviderName),
    /// A version cannot be had.
    #[error("could not get `{module}` {version} as a Go module; give another with `--kubernetes`")]
    Module {
        /// The module.
        module: String,
        /// The version.
        version: String,
        /// What `go` said.
        #[source]
        source: parbake_machine::Error,
    },
    /// The packages of a folder of modules cannot be found with the new versions.
    #[error("could not work out the modules of `{folder}`")]
    Modules {
        /// The folder.
        folder: String,
        /// What `go` said.
        #[source]
        source: parbake_machine::Error,
    },
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    /// kubeadm's source does not say what it asks for.
    #[error("could not find `{what}` in the source of kubeadm {version}")]
    Constant {
        /// The name of the constant.
        what: &'static str,
        /// The version.
        version: KubernetesVersion,
    },
    /// A folder of modules lacks what it is for.
    #[error("`{folder}/go.mod` requires no module that has the package `{package}`")]
    NoModule {
        /// The folder.
        folder: String,
        /// The package.
        package: String,
    },
    /// The provider file is no TOML.
    #[error("could not change the provider file")]
    Recipe(#[from] toml_edit::TomlError),
    /// The provider is not sound.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// The lock could not be made.
    #[error(transparent)]
    Inputs(#[from] inputs::Error),
}
