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

/// Inputs could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Lock(#[from] lock::Error),
    #[error(transparent)]
    Runtime(#[from] UnusableRuntime),
    #[error(transparent)]
    Addon(#[from] AddonError),
    #[error(transparent)]
    Images(#[from] ImageError),
    #[error(transparent)]
    RootFs(#[from] RootFsError),
    #[error(transparent)]
    Os(#[from] MissingFromOs),
    #[error(transparent)]
    InvalidOs(#[from] InvalidOs),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    #[error(
        "what is not downloaded is built from Go modules, and a program for that is missing; install it with `apt-get install \
         golang-go gcc libc6-dev`, or let this host reach what is published"
    )]
    NoBuildTool(#[source] parbake_machine::Error),
    #[error(
        "no Debian mirror is configured for this host's apt; set one, for example \
         `PARBAKE_DEBIAN_MIRROR=http://mirror.example/debian`"
    )]
    NoMirror,
    #[error(transparent)]
    Mirror(#[from] InvalidDebianMirrors),
    #[error(
        "could not download the locked package `{package}`; if the mirror has only newer versions, \
         run `parbake provider update {provider}`"
    )]
    Download {
        package: String,
        provider: String,
        #[source]
        source: parbake_machine::Error,
    },
    #[error("`{}` has the SHA-256 `{found}`, not `{expected}` as locked", path.display())]
    Digest {
        path: PathBuf,
        expected: String,
        found: String,
    },
    #[error("the mirror's index of `{suite}` does not describe the package `{package}`")]
    NoPackage { suite: String, package: String },
    #[error(
        "`{command}` is built from version `{found}` of its module, but the provider file says `{expected}`; \
         make `modules/{module}/go.mod` and the provider file agree"
    )]
    BinaryVersion {
        command: String,
        module: String,
        expected: String,
        found: String,
    },
    #[error("the provider file has no {0}, which every bake needs")]
    Incomplete(&'static str),
    #[error("kubeadm needs the image `{reference}`; add `images.{short_name}` to the provider file")]
    NoImage { reference: String, short_name: String },
    #[error("kubeadm does not need the image `{short_name}` of the provider file")]
    ExtraImage { short_name: String },
}

impl Error {
    /// For `map_err` of a build: says what to do if a program is missing.
    pub(super) fn without_tool(self) -> Self {
        match self {
            Self::Machine(source @ parbake_machine::Error::Start { .. }) => Self::NoBuildTool(source),
            other => other,
        }
    }
}
