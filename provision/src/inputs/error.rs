//! What can go wrong with inputs.

use std::path::PathBuf;

use parbake_artifact::images::ImageError;
use parbake_artifact::rootfs::RootFsError;
use parbake_artifact::{ReferenceError, RegistryError};

use super::debian::InvalidDebianMirrors;
use super::local::LocalError;
use super::os::{InvalidOs, MissingFromOs};
use super::release::ReleaseError;
use crate::node::UnusableRuntime;
use crate::provider::{AddonError, lock};

/// Why inputs could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is published cannot be had.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// What a developer gives cannot be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A name of an image makes no sense.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// Nodes would have no container runtime that serves.
    #[error(transparent)]
    Runtime(#[from] UnusableRuntime),
    /// An add-on cannot be used.
    #[error(transparent)]
    Addon(#[from] AddonError),
    /// A file of images cannot be used.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// What was given as the node OS cannot be read or unpacked.
    #[error(transparent)]
    RootFs(#[from] RootFsError),
    /// It is no node OS.
    #[error(transparent)]
    Os(#[from] MissingFromOs),
    /// The provider names a node OS that is none.
    #[error(transparent)]
    InvalidOs(#[from] InvalidOs),
    /// An image could not be pulled.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    /// No Debian mirror is configured on this host.
    #[error(
        "no Debian mirror is configured for this host's apt; name one, for example \
         `PARBAKE_DEBIAN_MIRROR=http://mirror.example/debian`"
    )]
    NoMirror,
    /// The mirror that the environment names is none.
    #[error(transparent)]
    Mirror(#[from] InvalidDebianMirrors),
    /// A locked package cannot be downloaded.
    #[error(
        "could not download the locked package `{package}`; if the mirror has only newer versions by now, \
         run `parbake provider update {provider}`"
    )]
    Download {
        /// Name and version of the package.
        package: String,
        /// Whose lock it is.
        provider: String,
        /// What the download said.
        #[source]
        source: parbake_machine::Error,
    },
    /// A downloaded file is not what the lock says.
    #[error("`{}` has the SHA-256 `{found}`, not `{expected}` as locked", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// The locked digest.
        expected: String,
        /// The file's digest.
        found: String,
    },
    /// The package that provides a name cannot be found.
    #[error("the mirror's index of `{suite}` does not describe the package `{package}`")]
    NoPackage {
        /// The Debian release.
        suite: String,
        /// The package.
        package: String,
    },
    /// A binary is of another version than the provider file says.
    #[error(
        "`{command}` is built from version `{found}` of its module, but the provider file says `{expected}`; \
         make `modules/{module}/go.mod` and the provider file agree"
    )]
    BinaryVersion {
        /// The binary.
        command: String,
        /// Its folder under `modules/`.
        module: String,
        /// The provider file's version.
        expected: String,
        /// The version in the binary.
        found: String,
    },
    /// The provider file lacks something that the source needs.
    #[error("the provider file has no {0}, without which nothing can be baked")]
    Incomplete(&'static str),
    /// kubeadm asks for an image that the provider file does not describe.
    #[error(
        "kubeadm asks for the image `{reference}`; describe it in the provider file, as `images.{short_name}`"
    )]
    NoImage {
        /// The image's full name.
        reference: String,
        /// The last part of its name.
        short_name: String,
    },
    /// The provider file describes an image that kubeadm does not ask for.
    #[error("the provider file describes the image `{short_name}`, which kubeadm does not ask for")]
    ExtraImage {
        /// The image's short name.
        short_name: String,
    },
}
